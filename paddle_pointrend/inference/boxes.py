"""Which of a network's boxes are kept: what lies between the graphs of an exported network of instances. NumPy alone.

paddle_pointrend/models/instance does the same in Paddle, which exported networks do without; the tests compare the two.
R: boxes of one image, K: classes, L: levels of the pyramid, fine -> coarse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # a box of 224 x 224 pixels belongs to P4


def choose_proposals(
    boxes: Sequence[np.ndarray],
    logits: Sequence[np.ndarray],
    image_size: Sequence[int],
    *,
    pre_nms_top_n: int,
    post_nms_top_n: int,
    nms_threshold: float,
) -> np.ndarray:
    """Chooses the proposals of an image, as RPN.propose does.

    Args:
        boxes: L arrays [A_i, 4], where each anchor of a level leads to.
        logits: L arrays [A_i], that it shows an object.
        image_size: (height, width) before padding.
        pre_nms_top_n: the best of each level that enter suppression.
        post_nms_top_n: proposals of the image.
        nms_threshold: IoU, within a level.

    Returns:
        [R, 4], best first, clipped to the image, none without area.
    """
    best = [np.argsort(-level, kind="stable")[:pre_nms_top_n] for level in logits]
    level_of = np.repeat(np.arange(len(best)), [len(places) for places in best])
    scores = np.concatenate([level[places] for level, places in zip(logits, best)])
    candidates = np.concatenate([level[places] for level, places in zip(boxes, best)])
    is_finite = np.isfinite(candidates).all(1) & np.isfinite(scores)
    candidates = clip_boxes(candidates, image_size)
    usable = is_finite & nonempty(candidates)
    candidates, scores, level_of = candidates[usable], scores[usable], level_of[usable]
    return candidates[batched_nms(candidates, scores, level_of, nms_threshold)[:post_nms_top_n]]


def choose_detections(
    boxes: np.ndarray,
    probabilities: np.ndarray,
    image_size: Sequence[int],
    *,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chooses the detections of an image, as BoxHead.detect does.

    Args:
        boxes: [R, K, 4], of each class.
        probabilities: [R, K + 1], the last is background's.
        image_size: (height, width) before padding.
        score_threshold: detections have a higher score.
        nms_threshold: IoU, within a class.
        max_detections: at most.

    Returns:
        boxes [D, 4] clipped to the image, scores [D], classes int64 [D], best first.
    """
    is_finite = np.isfinite(boxes).all((1, 2)) & np.isfinite(probabilities).all(1)
    places, classes = np.nonzero((probabilities[:, :-1] > score_threshold) & is_finite[:, None])
    candidates, scores = clip_boxes(boxes[places, classes], image_size), probabilities[places, classes]
    kept = batched_nms(candidates, scores, classes, nms_threshold)[:max_detections]
    return candidates[kept], scores[kept], classes[kept]


def batched_nms(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Suppresses boxes that overlap a better one of their group by more than the threshold.

    Args:
        boxes: [R, 4].
        scores: [R].
        groups: int [R].
        iou_threshold: in [0, 1].

    Returns:
        int64 [kept], their places in `boxes`, best first; of equal scores the first one.
    """
    order = np.argsort(-scores, kind="stable")
    is_kept = np.zeros(len(order), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups[order] == group)
        is_kept[members] = _is_best(boxes[order[members]], iou_threshold)
    return order[is_kept]


def _is_best(boxes, iou_threshold):
    """Of boxes [R, 4], best first, which ones no better one suppresses: bool [R]."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = np.ones(len(boxes), bool)
    for i, box in enumerate(boxes):
        if kept[i]:
            others = boxes[i + 1 :]
            sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
            intersection = sides.clip(min=0).prod(1)
            with np.errstate(invalid="ignore"):  # two boxes without an area: 0 / 0
                kept[i + 1 :] &= ~(intersection / (areas[i] + areas[i + 1 :] - intersection) > iou_threshold)
    return kept


def clip_boxes(boxes: np.ndarray, image_size: Sequence[int]) -> np.ndarray:
    """Moves corners of boxes [R, 4] that lie outside an image of (height, width) to its border."""
    height, width = image_size
    return np.clip(boxes, 0, np.array([width, height] * 2, boxes.dtype))


def nonempty(boxes: np.ndarray) -> np.ndarray:
    """Tells which boxes [R, 4] have an area: bool [R]."""
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


def box_levels(boxes: np.ndarray, strides: Sequence[int]) -> np.ndarray:
    """Chooses a level for every box [R, 4], by its area: int64 [R], places in `strides`."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    level = np.floor(CANONICAL_LEVEL + np.log2(np.sqrt(areas) / CANONICAL_SIZE + 1e-8))
    finest, coarsest = int(math.log2(strides[0])), int(math.log2(strides[-1]))
    return np.clip(level, finest, coarsest).astype(np.int64) - finest
