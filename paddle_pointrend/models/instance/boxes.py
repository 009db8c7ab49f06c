"""Functions of boxes [..., 4], x1 y1 x2 y2 in pixels.

Source: detectron2/structures/boxes.py, detectron2/modeling/box_regression.py, torchvision.ops.batched_nms.
"""

import math
from collections.abc import Sequence

import numpy as np
import paddle
from paddle.vision import ops

LARGEST_LOG_RATIO = math.log(1000.0 / 16)  # of a side to the reference's: keeps exp from overflowing


def box_areas(boxes: paddle.Tensor) -> paddle.Tensor:
    """Measures areas, [..., 4] -> [...]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip_boxes(boxes: paddle.Tensor, image_size: Sequence[int]) -> paddle.Tensor:
    """Moves corners that lie outside an image of (height, width) to its border."""
    height, width = (int(size) for size in image_size)
    x1, y1, x2, y2 = boxes.unbind(-1)
    return paddle.stack([x1.clip(0, width), y1.clip(0, height), x2.clip(0, width), y2.clip(0, height)], axis=-1)


def nonempty(boxes: paddle.Tensor) -> paddle.Tensor:
    """Tells which boxes have an area, [..., 4] -> bool [...]."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])


def pairwise_iou(boxes: paddle.Tensor, others: paddle.Tensor) -> paddle.Tensor:
    """Measures intersection over union of every pair, [M, 4] and [N, 4] -> [M, N]; 0 where both have no area."""
    first = boxes.unsqueeze(1)
    sides = paddle.minimum(first[..., 2:], others[:, 2:]) - paddle.maximum(first[..., :2], others[:, :2])
    sides = sides.clip(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = box_areas(boxes).unsqueeze(1) + box_areas(others) - intersection
    return paddle.where(intersection > 0, intersection / union, paddle.zeros_like(intersection))


def encode_boxes(boxes: paddle.Tensor, references: paddle.Tensor, weights: Sequence[float]) -> paddle.Tensor:
    """Expresses boxes [R, 4] by deltas [R, 4] from references [R, 4] that have an area: dx, dy, dw, dh.

    Args:
        boxes: what the deltas are to lead to.
        references: where they start.
        weights: four factors of the deltas.
    """
    (x, y, width, height), (rx, ry, rwidth, rheight) = _centres_and_sides(boxes), _centres_and_sides(references)
    deltas = (x - rx) / rwidth, (y - ry) / rheight, paddle.log(width / rwidth), paddle.log(height / rheight)
    return paddle.stack([weight * delta for weight, delta in zip(weights, deltas)], axis=-1)


def decode_boxes(deltas: paddle.Tensor, references: paddle.Tensor, weights: Sequence[float]) -> paddle.Tensor:
    """Follows deltas [..., 4] from references [..., 4], of shapes that broadcast: the inverse of `encode_boxes`.

    Sides grow by 1000 / 16 at most.
    """
    x, y, width, height = _centres_and_sides(references)
    dx, dy, dw, dh = (delta / weight for delta, weight in zip(deltas.unbind(-1), weights))
    x, y = dx * width + x, dy * height + y
    half_width = 0.5 * (paddle.exp(dw.clip(max=LARGEST_LOG_RATIO)) * width)
    half_height = 0.5 * (paddle.exp(dh.clip(max=LARGEST_LOG_RATIO)) * height)
    return paddle.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)


def _centres_and_sides(boxes):
    x1, y1, x2, y2 = boxes.unbind(-1)
    width, height = x2 - x1, y2 - y1
    return x1 + 0.5 * width, y1 + 0.5 * height, width, height


def batched_nms(
    boxes: paddle.Tensor, scores: paddle.Tensor, groups: paddle.Tensor, iou_threshold: float
) -> paddle.Tensor:
    """Suppresses boxes that overlap a better one of their group by more than the threshold.

    Args:
        boxes: [R, 4].
        scores: [R].
        groups: int64 [R], a class or a level.
        iou_threshold: in [0, 1].

    Returns:
        int64 [kept], their places in `boxes`, best first; of equal scores the first one.
    """
    order = paddle.argsort(scores, descending=True, stable=True)  # Paddle's nms sorts ties in an order of its own
    ordered = paddle.gather(boxes, order)
    group_of = groups.numpy()[order.numpy()]
    is_kept = np.zeros(len(group_of), bool)
    for group in np.unique(group_of):
        members = np.flatnonzero(group_of == group)
        kept = ops.nms(paddle.gather(ordered, paddle.to_tensor(members)), iou_threshold)
        is_kept[members[kept.numpy()]] = True
    return paddle.gather(order, paddle.to_tensor(np.flatnonzero(is_kept)))
