"""Average precision of instances by boxes, masks and boundaries, with pycocotools.

Source of the boundary AP: Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
section 5: a match needs the smaller of mask IoU and boundary IoU.
Shapes: T IoU thresholds 0.5 to 0.95, R recalls, K classes, A ranges of area, M limits of detections an image.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from paddle_pointrend.data.masks import coco_masks
from paddle_pointrend.evaluation.boundary import boundary_width

KINDS = {"box": "bbox", "mask": "segm", "boundary": "segm"}  # our name -> pycocotools' type of IoU
AREAS = ("all", "small", "medium", "large")


class InstanceMetrics:
    """Measures detections of a data set.

    Args:
        truth: the data set as `CocoData.as_dict` returns it.
    """

    def __init__(self, truth: Mapping[str, Any]) -> None:
        self._truth = truth
        for item in truth["annotations"]:
            item["boundary"] = boundary_run_lengths(item["segmentation"])

    def summary(self, detections: Sequence[Mapping[str, Any]], kinds: Sequence[str] = tuple(KINDS)) -> dict[str, dict]:
        """Computes the average precisions.

        Args:
            detections: COCO's results: dicts of image_id, category_id, bbox [x, y, w, h], score, and segmentation, run
                lengths. Of each image and class the best hundred count.
            kinds: of "box", "mask" and "boundary".

        Returns:
            kind -> {"ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "class_ap": a list of K}, numbers in
            [0, 1], None where there is no object to find.
        """
        results = [{**item, "id": i, "iscrowd": 0} for i, item in enumerate(detections, start=1)]
        if "boundary" in kinds:
            for item in results:
                item["boundary"] = boundary_run_lengths(item["segmentation"])
        return {kind: self._average_precisions(results, kind) for kind in kinds}

    def _average_precisions(self, results, kind):
        results = [{**item, "area": _area(item, kind)} for item in results]
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
            evaluation = _coco_eval()(_index(self._truth), _index({**self._truth, "annotations": results}), KINDS[kind])
            evaluation.uses_boundary = kind == "boundary"
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"][..., -1]  # [T, R, K, A]
        thresholds = evaluation.params.iouThrs
        at = {name: _mean(precision[:, :, :, i]) for i, name in enumerate(AREAS)}
        return {
            "ap": at["all"],
            "ap50": _mean(precision[np.isclose(thresholds, 0.5), :, :, 0]),
            "ap75": _mean(precision[np.isclose(thresholds, 0.75), :, :, 0]),
            **{f"ap_{name}": at[name] for name in AREAS[1:]},
            "class_ap": [_mean(precision[:, :, k, 0]) for k in range(precision.shape[2])],
        }


def boundary_run_lengths(run_lengths: Mapping[str, Any], dilation_ratio: float = 0.02) -> dict[str, Any]:
    """Encodes the part of a mask within `boundary_width` pixels of its outline, the image's border being outside."""
    masks = coco_masks()
    mask = masks.decode(run_lengths)
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    height, width = mask.shape
    iterations = boundary_width(height, width, dilation_ratio)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=iterations)[1:-1, 1:-1]
    return masks.encode(np.asfortranarray(mask - inner))


@functools.cache
def _coco_eval():
    """pycocotools' COCOeval, with boundaries."""
    coco_masks()  # which says what to install
    from pycocotools.cocoeval import COCOeval

    class BoundaryEval(COCOeval):
        uses_boundary = False  # where set, a match needs both IoUs

        def computeIoU(self, imgId, catId):  # noqa: N802, N803
            ious = super().computeIoU(imgId, catId)
            if not self.uses_boundary or len(ious) == 0:
                return ious
            truths, found = self._gts[imgId, catId], self._dts[imgId, catId]
            order = np.argsort([-item["score"] for item in found], kind="mergesort")[: self.params.maxDets[-1]]
            crowd = np.array([item["iscrowd"] for item in truths])
            boundaries = [[found[i]["boundary"] for i in order], [item["boundary"] for item in truths]]
            edge_ious = coco_masks().iou(*boundaries, crowd.tolist())
            return np.where(crowd > 0, ious, np.minimum(ious, edge_ious))

    return BoundaryEval


def _index(content):
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = dict(content)
    coco.createIndex()
    return coco


def _area(detection, kind):
    """The area that decides whether a detection is small, medium or large, as pycocotools' loadRes has it."""
    if kind == "box":
        return detection["bbox"][2] * detection["bbox"][3]
    return float(coco_masks().area(detection["segmentation"]))


def _mean(precision):
    counted = precision[precision > -1]
    return float(counted.mean()) if counted.size else None
