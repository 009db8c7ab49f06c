"""What the mask heads are to predict, read from the objects' masks.

R: boxes of all images, M: objects of an image, P: points of a box.

Source: detectron2/structures/masks.py (BitMasks.crop_and_resize), projects/PointRend point_features.py.
"""

from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from paddle_pointrend.models.instance.roi_align import roi_align
from paddle_pointrend.points.sampling import bilinear_neighbours


class MatchedMasks(NamedTuple):
    """The objects that boxes show. Boxes of the first image come first.

    classes: int64 [R].
    masks: uint8 [M, H, W] of each image.
    matches: int64 [R_i] of each image, places in its masks.
    """

    classes: np.ndarray
    masks: list[paddle.Tensor]
    matches: list[np.ndarray]


@paddle.no_grad()
def masks_in_boxes(matched: MatchedMasks, boxes: paddle.Tensor, side: int) -> paddle.Tensor:
    """Cuts each box [R, 4] out of its object's mask and resizes it: bool [R, side, side]."""
    cut = []
    for masks, matches, image_boxes in _images(matched, boxes):
        order = np.argsort(matches, kind="stable")
        counts = np.bincount(matches, minlength=len(masks))
        ordered = paddle.gather(image_boxes, paddle.to_tensor(order))
        shares = roi_align(masks.unsqueeze(1).astype(boxes.dtype), ordered, counts, side, 1)
        cut.append(paddle.gather(shares.squeeze(1), paddle.to_tensor(np.argsort(order))))
    return paddle.concat(cut) >= 0.5


@paddle.no_grad()
def masks_at_points(matched: MatchedMasks, points: paddle.Tensor) -> paddle.Tensor:
    """Reads each box's mask at points [R, P, 2], pixels of the image: in [0, 1], bilinear, 0 outside: [R, P]."""
    values = []
    for masks, matches, image_points in _images(matched, points):
        height, width = masks.shape[1:]
        size = paddle.to_tensor([width, height], dtype=points.dtype)
        first_pixels = paddle.to_tensor(matches).unsqueeze(1) * (height * width)
        value = paddle.zeros(image_points.shape[:2], points.dtype)
        for indices, weights in zip(*bilinear_neighbours(image_points / size, height, width)):
            pixels = paddle.gather(masks.flatten(), (first_pixels + indices).flatten())
            value += pixels.reshape(indices.shape).astype(points.dtype) * weights
        values.append(value)
    return paddle.concat(values)


def _images(matched, rows):
    """Yields (masks, matches, the image's part of `rows` [R, ...]) of images that have boxes."""
    parts = paddle.split(rows, [len(matches) for matches in matched.matches])
    for masks, matches, part in zip(matched.masks, matched.matches, parts):
        if len(matches):
            yield masks, matches, part


def of_true_class(logits: paddle.Tensor, matched: MatchedMasks) -> paddle.Tensor:
    """Picks of logits [R, K, ...] those of the class of each box's object: [R, ...]."""
    classes = paddle.to_tensor(matched.classes)
    return paddle.gather_nd(logits, paddle.stack([paddle.arange(len(classes)), classes], axis=1))


def mask_loss(logits: paddle.Tensor, boxes: paddle.Tensor, matched: MatchedMasks) -> paddle.Tensor:
    """Computes the mean binary cross-entropy of the true class's masks, logits [R, K, S, S] of boxes [R, 4]."""
    predicted = of_true_class(logits, matched)
    wanted = masks_in_boxes(matched, boxes, predicted.shape[2]).astype(predicted.dtype)
    return F.binary_cross_entropy_with_logits(predicted, wanted)
