"""Traced graphs, in the operations that the runtimes of exported networks execute fast.

Shape letters as in sampling.py; K: classes.
"""

import dataclasses
import math

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.points import generic
from paddle_pointrend.points.eager_cpu import gathering_sampler
from paddle_pointrend.points.generic import Execution, split_classes, top2

IMPOSSIBLE_LOGIT = -1e4  # in float16's range


def pad_classes(logits: paddle.Tensor) -> paddle.Tensor:
    """Adds classes that nothing can be to [N, K, ...], so that there is one for each place of `class_grid`."""
    rows, columns = class_grid(logits.shape[1])
    if rows * columns == logits.shape[1]:
        return logits
    pads = [0, 0, 0, rows * columns - logits.shape[1], 0, 0, 0, 0]
    return F.pad(logits, pads, value=IMPOSSIBLE_LOGIT, pad_from_left_axis=True)


def crop_classes(logits: paddle.Tensor, num_classes: int) -> paddle.Tensor:
    """Undoes `pad_classes`, by an index: ONNX Runtime copies a slice with one thread only."""
    if logits.shape[1] == num_classes:
        return logits
    return paddle.index_select(logits, paddle.arange(num_classes), axis=1)


def uncertainty(logits: paddle.Tensor) -> paddle.Tensor:
    """Subtracts the best from the second-best class, by maxima over an axis, each of which is one fast pass.

    The classes are laid out in a grid. The two best ones stand in different rows or in different columns (or both), so
    that the second-best is the second-best of the rows' maxima or of the columns'.
    """
    rows, columns = class_grid(logits.shape[1])
    if logits.shape[1] == 1 or rows * columns != logits.shape[1]:
        return generic.uncertainty(logits)
    grid = logits.reshape([logits.shape[0], rows, columns, -1])
    best, second = top2(split_classes(grid.max(axis=2)))
    if columns > 1:
        second = paddle.maximum(second, top2(split_classes(grid.max(axis=1)))[1])
    return (second - best).reshape([logits.shape[0], 1, *paddle.shape(logits)[2:]])


def class_grid(num_classes: int) -> tuple[int, int]:
    """Gives (rows, columns) of the smallest grid, nearly square, with a place for each class."""
    columns = math.isqrt(num_classes)
    return -(-num_classes // columns), columns


def write_points(logits: paddle.Tensor, indices: paddle.Tensor, point_logits: paddle.Tensor) -> paddle.Tensor:
    """Writes points into a map as generic.write_points does, into a new one: a graph changes no tensor."""
    index = indices.unsqueeze(1).expand([-1, point_logits.shape[1], -1])
    flat = paddle.put_along_axis(logits.flatten(2), index, point_logits.astype(logits.dtype), axis=2, broadcast=False)
    return flat.reshape(logits.shape)


def point_mlp(
    head: nn.Layer, fine_features: paddle.Tensor, coarse_logits: paddle.Tensor, classes: paddle.Tensor | None = None
) -> paddle.Tensor:
    """Runs a PointHead as 1x1 convolutions on [N, C, 1, P], which runtimes fuse with bias and ReLU."""
    coarse_logits = _fill_blocks(_as_image(coarse_logits), fine_features.shape[1])
    x = paddle.concat([_as_image(fine_features), coarse_logits], axis=1)
    for layer in head.layers:
        x = F.relu(_convolve(layer, x))
        if head.coarse_in_every_layer:
            x = paddle.concat([x, coarse_logits], axis=1)
    if classes is None:
        return _convolve(head.predictor, x).flatten(2)
    weight = paddle.gather(head.predictor.weight, classes).transpose([0, 2, 1])
    bias = paddle.gather(head.predictor.bias, classes).reshape([-1, 1, 1])
    return paddle.matmul(weight, x.flatten(2)[:, : weight.shape[2]]) + bias


def _convolve(layer, x):
    """A 1x1 Conv1D on [N, C, 1, P]: one matrix product, which runtimes fuse with its bias and ReLU.

    Conv1D itself adds and takes away that axis around every layer, which keeps them from it.
    """
    weight = layer.weight.unsqueeze(2)
    missing = x.shape[1] - weight.shape[1]
    if missing:  # _fill_blocks has added channels of zeros
        weight = paddle.concat([weight, paddle.zeros([weight.shape[0], missing, 1, 1], weight.dtype)], axis=1)
    return F.conv2d(x, weight, layer.bias)


def _as_image(points):
    """[N, C, P] as [N, C, 1, P]; by a reshape: passes of Paddle Inference 3.3 stumble over an unsqueeze here."""
    return points.reshape([0, 0, 1, -1])


def _fill_blocks(points, num_others):
    """[N, C, 1, P] with channels of zeros at the end, so that with num_others they are a multiple of 16.

    ONNX Runtime's fast convolutions on CPU keep their maps in blocks of 16 channels, and stay with that between layers
    if what is concatenated there comes from a convolution as well: an identity here, of a multiple of 4 channels.
    """
    channels = points.shape[1]
    points = F.pad(points, [0, 0, 0, -channels % 4, 0, 0, 0, 0], pad_from_left_axis=True)
    identity = paddle.eye(channels + -(channels + num_others) % 16, points.shape[1])
    return F.conv2d(points, identity.unsqueeze([2, 3]))


# Paddle Inference's grid_sample is slow on CPU; that of ONNX Runtime and of OpenVINO is fast.
PADDLE_GRAPH = Execution(
    "graph for Paddle",
    pad_classes=pad_classes,
    crop_classes=crop_classes,
    uncertainty=uncertainty,
    sampler=gathering_sampler,
    write_points=write_points,
    point_mlp=point_mlp,
)
ONNX_GRAPH = dataclasses.replace(PADDLE_GRAPH, name="graph for ONNX", sampler=generic.sampler)
