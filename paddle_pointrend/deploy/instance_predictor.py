"""Image in, instances out, with an exported network of instances; Paddle is not needed.

predictor = InstancePredictor("output/export")
instances = predictor.predict(image)  # image uint8 [H, W, 3] in RGB
masks = instances.masks()  # bool [D, H, W]
"""

from __future__ import annotations

import os

import numpy as np

from paddle_pointrend.data.found_instances import Instances
from paddle_pointrend.data.instances import CocoInstances, pad_images
from paddle_pointrend.deploy.deploy_file import DeployFile
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.instance_settings import GRAPHS
from paddle_pointrend.deploy.runtimes import fastest_runtime, load_graphs
from paddle_pointrend.inference.boxes import box_levels, choose_detections, choose_proposals, nonempty


class InstancePredictor:
    """Finds instances with an exported network.

    Args:
        folder: what `paddle-pointrend export` wrote.
        runtime: "onnxruntime", "openvino" or "paddle-inference"; by default the fastest one that is installed and reads
            the folder.
        num_threads: on the CPU, as of load_runtime.

    Attributes:
        runtime: its name.
        classes: K names.
        category_ids: K ids of COCO's results.

    Raises:
        RuntimeLoadError: the folder cannot be used, or no runtime that reads it is installed.
        ValueError: unknown names.
    """

    def __init__(
        self, folder: str | os.PathLike, *, runtime: str | None = None, num_threads: int | None = None
    ) -> None:
        deploy = DeployFile.read(folder)
        if deploy.instances is None:
            raise RuntimeLoadError(f"{folder} holds a network of labels, expected one of instances")
        self.runtime = runtime or fastest_runtime(folder)
        self._settings = settings = deploy.instances
        self.classes = deploy.classes or [f"class {i}" for i in range(deploy.num_classes)]
        self.category_ids = settings.category_ids
        self._images = CocoInstances(  # for its sizes and normalisation alone
            folder,
            "",
            "",
            short_sides=[settings.short_side],
            longest_side=settings.longest_side,
            mean=deploy.mean,
            std=deploy.std,
            channels=deploy.channels.upper(),
        )
        self._features, self._boxes, self._masks = load_graphs(self.runtime, folder, GRAPHS, num_threads=num_threads)

    def predict(self, pixels: np.ndarray) -> Instances:
        """Finds the instances of an image, uint8 [H, W, 3] in RGB of any size."""
        images, (size,) = pad_images([self._images.network_image(pixels)])
        boxes, scores, classes, masks = self._detect(images, size)
        return Instances.resized(boxes, scores, classes, masks, size, pixels.shape[:2])

    def _detect(self, images, size):
        """Boxes [D, 4], scores [D], classes [D] and masks by prediction's name of an image [1, 3, H, W]."""
        settings = self._settings
        num_levels = len(settings.strides)
        outputs = self._features(images)
        levels, logits, anchor_boxes = outputs[:num_levels], outputs[num_levels::2], outputs[num_levels + 1 :: 2]
        proposals = choose_proposals(
            anchor_boxes,
            logits,
            size,
            pre_nms_top_n=settings.pre_nms_top_n,
            post_nms_top_n=settings.post_nms_top_n,
            nms_threshold=settings.proposal_nms_threshold,
        )
        if not len(proposals):
            return self._nothing()
        order, by_level = self._by_level(proposals, num_levels)
        class_boxes, probabilities = (_unsorted(part, order) for part in self._boxes(*levels, *by_level))
        boxes, scores, classes = choose_detections(
            class_boxes,
            probabilities,
            size,
            score_threshold=settings.score_threshold,
            nms_threshold=settings.nms_threshold,
            max_detections=settings.max_detections,
        )
        kept = nonempty(boxes)
        boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
        if not len(boxes):
            return self._nothing()
        order, by_level = self._by_level(boxes, settings.num_mask_levels)
        masks = self._masks(*levels[: settings.num_mask_levels], *by_level, classes[order])
        best_last = (_unsorted(part, order) for part in reversed(masks))
        return boxes, scores, classes, dict(zip(settings.predictions, best_last))

    def _by_level(self, boxes, num_levels):
        """The order that sorts boxes [R, 4] by level, and those of each of the first num_levels."""
        level_of = box_levels(boxes, self._settings.strides[:num_levels])
        return np.argsort(level_of, kind="stable"), [boxes[level_of == i] for i in range(num_levels)]

    def _nothing(self):
        masks = {name: np.zeros((0, 1, 1), np.float32) for name in self._settings.predictions}
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), masks


def _unsorted(values, order):
    """Undoes the order of values[order]."""
    result = np.empty_like(values)
    result[order] = values
    return result
