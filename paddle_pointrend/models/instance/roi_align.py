"""RoIAlign: what a map shows inside boxes, as small maps of one size.

R: boxes of all images, C: channels, S: side of the small maps.

Source: He et al., "Mask R-CNN" (ICCV 2017); detectron2/layers/roi_align.py (aligned), modeling/poolers.py.
"""

import math
from collections.abc import Sequence

import numpy as np
import paddle
from paddle.vision import ops

from paddle_pointrend.models.instance.boxes import box_areas, nonempty

CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # a box of 224 x 224 pixels belongs to P4


def roi_align(
    features: paddle.Tensor,
    boxes: paddle.Tensor,
    counts: Sequence[int] | np.ndarray,
    size: int,
    stride: float,
    sampling_ratio: int = 0,
) -> paddle.Tensor:
    """Averages samples of a map over the S x S cells of each box.

    Paddle's operator, except for two things that it does otherwise than detectron2's: boxes without area give zeros,
    not NaN; and the gradient of boxes that are thinner than one pixel of the map is right.

    Args:
        features: [N, C, H, W].
        boxes: [R, 4] in the image's pixels, those of the first image first.
        counts: how many boxes each of the N images has.
        size: S.
        stride: of the map.
        sampling_ratio: samples a cell along each axis; 0 for as many as the cell has pixels, rounded up.

    Returns:
        [R, C, S, S].
    """
    if features.stop_gradient or not paddle.is_grad_enabled():
        return _whole(features, boxes, counts, size, stride, sampling_ratio)
    sides = paddle.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]).numpy() / stride
    is_thin = sides < 1
    if not is_thin.any():
        return _whole(features, boxes, counts, size, stride, sampling_ratio)
    image_of = np.repeat(np.arange(len(counts)), counts)
    thin, others = np.flatnonzero(is_thin), np.flatnonzero(~is_thin)
    pooled = [
        _whole(
            features,
            paddle.gather(boxes, paddle.to_tensor(others)),
            np.bincount(image_of[others], minlength=len(counts)),
            size,
            stride,
            sampling_ratio,
        ),
        _by_gathering(features, boxes.numpy()[thin] / stride, image_of[thin], size, sampling_ratio),
    ]
    back = np.argsort(np.concatenate([others, thin]))
    return paddle.gather(paddle.concat(pooled), paddle.to_tensor(back))


def _whole(features, boxes, counts, size, stride, sampling_ratio):
    has_area = nonempty(boxes)
    counts = paddle.to_tensor(np.asarray(counts, np.int32))
    if bool(has_area.all()):
        return ops.roi_align(features, boxes, counts, size, 1.0 / stride, sampling_ratio, aligned=True)
    unit = paddle.to_tensor([0.0, 0.0, 1.0, 1.0], dtype=boxes.dtype)
    safe = paddle.where(has_area.unsqueeze(1), boxes, unit.expand_as(boxes))
    pooled = ops.roi_align(features, safe, counts, size, 1.0 / stride, sampling_ratio, aligned=True)
    return pooled * has_area.astype(pooled.dtype).reshape([-1, 1, 1, 1])


def _by_gathering(features, boxes, images, size, sampling_ratio):
    """roi_align of boxes [R, 4] in the map's pixels: a weighted sum of the map's pixels for each cell."""
    channels, height, width = features.shape[1:]
    pixels, weights, cells = [], [], []
    for i, (box, image) in enumerate(zip(boxes, images)):
        rows = _axis_weights(box[1], box[3], size, height, sampling_ratio)
        columns = _axis_weights(box[0], box[2], size, width, sampling_ratio)
        # The samples of a cell form a grid, so that their weights are products of those along the axes.
        for row, y in zip(*np.nonzero(rows)):
            cell, x = np.nonzero(columns)
            pixels.append((image * height + y) * width + x)
            weights.append(rows[row, y] * columns[cell, x])
            cells.append((i * size + row) * size + cell)
    num_cells = len(boxes) * size * size
    if not pixels:
        return paddle.zeros([len(boxes), channels, size, size], features.dtype)
    flat = features.transpose([0, 2, 3, 1]).reshape([-1, channels])
    read = paddle.gather(flat, paddle.to_tensor(np.concatenate(pixels)))
    weighted = read * paddle.to_tensor(np.concatenate(weights), dtype=features.dtype).unsqueeze(1)
    places = paddle.to_tensor(np.concatenate(cells)).unsqueeze(1)
    pooled = paddle.scatter_nd_add(paddle.zeros([num_cells, channels], features.dtype), places, weighted)
    return pooled.reshape([-1, size, size, channels]).transpose([0, 3, 1, 2])


def _axis_weights(start, end, size, length, sampling_ratio):
    """Weights [S, length] of the pixels of an axis in the average over the samples of each of S cells."""
    weights = np.zeros([size, length])
    cell = (float(end) - float(start)) / size
    num_samples = sampling_ratio or math.ceil(cell)
    for i in range(size):
        for k in range(num_samples):
            position = float(start) - 0.5 + (i + (k + 0.5) / num_samples) * cell
            if not -1 <= position <= length:
                continue
            position = min(max(position, 0.0), length - 1.0)
            low = int(position)
            weights[i, low] += (1 - (position - low)) / num_samples
            weights[i, min(low + 1, length - 1)] += (position - low) / num_samples
    return weights


def pool_levels(
    levels: list[paddle.Tensor],
    strides: Sequence[int],
    boxes: paddle.Tensor,
    counts: Sequence[int],
    size: int,
    sampling_ratio: int = 0,
) -> paddle.Tensor:
    """Pools every box from the level of the pyramid that suits its size.

    Args:
        levels: maps [N, C, H_i, W_i], fine -> coarse.
        strides: of the levels, each twice the one before.
        boxes, counts, size, sampling_ratio: see roi_align.

    Returns:
        [R, C, S, S].
    """
    level_of = box_levels(boxes, strides)
    image_of = np.repeat(np.arange(len(counts)), counts)
    pooled, places = [], []
    for i, (level, stride) in enumerate(zip(levels, strides)):
        members = np.flatnonzero(level_of == i)
        if len(members):
            members_of_images = np.bincount(image_of[members], minlength=len(counts))
            members_boxes = paddle.gather(boxes, paddle.to_tensor(members))
            pooled.append(roi_align(level, members_boxes, members_of_images, size, stride, sampling_ratio))
            places.append(members)
    if not pooled:
        return paddle.zeros([0, levels[0].shape[1], size, size], levels[0].dtype)
    return paddle.gather(paddle.concat(pooled), paddle.to_tensor(np.argsort(np.concatenate(places))))


def box_levels(boxes: paddle.Tensor, strides: Sequence[int]) -> np.ndarray:
    """Chooses a level for every box [R, 4], by its area: int64 [R], places in `strides`."""
    relative = paddle.sqrt(box_areas(boxes)) / CANONICAL_SIZE + 1e-8
    level = paddle.floor(CANONICAL_LEVEL + paddle.log2(relative)).numpy()
    finest, coarsest = int(math.log2(strides[0])), int(math.log2(strides[-1]))
    return np.clip(level, finest, coarsest).astype(np.int64) - finest


def pool_in_graph(
    levels: list[paddle.Tensor], strides: Sequence[int], boxes_of_levels: list[paddle.Tensor], size: int
) -> paddle.Tensor:
    """Does what `pool_levels` does in a traced graph, for one image, of boxes with an area that are sorted by level.

    Args:
        levels: maps [1, C, H_i, W_i], fine -> coarse.
        strides: of the levels.
        boxes_of_levels: [R_i, 4], the boxes that are read from each level.
        size: S.

    Returns:
        [R, C, S, S], the boxes of the finest level first.
    """
    pooled = []
    for level, stride, boxes in zip(levels, strides, boxes_of_levels):
        count = paddle.shape(boxes)[:1].astype("int32")
        pooled.append(ops.roi_align(level, boxes, count, size, 1.0 / stride, 0, aligned=True))
    return paddle.concat(pooled)
