"""One number for the instances of one image, to find the images where masks are best, worst, or change most."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddle_pointrend.data.masks import coco_masks
from paddle_pointrend.evaluation.instances import boundary_run_lengths

_BOX_IOU = 0.5  # from this on a detection is at an object


def image_score(truths: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]]) -> float:
    """Computes the mean boundary IoU of an image's objects with the detections at them, 0 where there is none.

    Detections take objects by boxes of the same class, the best detection first, an IoU of 0.5 at least: so coarse and
    refined masks, whose boxes are the same, are compared on the same objects. As in boundary AP it is the smaller of
    mask IoU and boundary IoU.

    Args:
        truths: annotations with category_id, bbox [x, y, w, h], segmentation (run lengths) and iscrowd; crowds do not
            count.
        detections: COCO's results, best first.

    Returns:
        In [0, 1]; NaN where there are no objects.
    """
    masks = coco_masks()
    objects = [item for item in truths if not item["iscrowd"]]
    if not objects:
        return float("nan")
    total, free = 0.0, set(range(len(objects)))
    corners = np.array([item["bbox"] for item in objects], np.float64)
    for found in detections:
        ious = masks.iou(np.array([found["bbox"]], np.float64), corners, [0] * len(objects))[0]
        same = [i for i in free if objects[i]["category_id"] == found["category_id"] and ious[i] >= _BOX_IOU]
        if same:
            best = max(same, key=lambda i: ious[i])
            free.remove(best)
            total += _mask_iou(found["segmentation"], objects[best]["segmentation"])
    return total / len(objects)


def _mask_iou(first, second):
    masks = coco_masks()
    edges = [boundary_run_lengths(first)], [boundary_run_lengths(second)]
    return min(float(masks.iou([first], [second], [0])[0, 0]), float(masks.iou(*edges, [0])[0, 0]))
