"""The operations of a refinement in Paddle's own functions: for any device and dtype, with gradients.

Other ways of executing replace some of them, see `Execution`. Shape letters as in sampling.py; K: classes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.points.sampling import point_sample


def pad_classes(logits: paddle.Tensor) -> paddle.Tensor:
    """Gives the logits [N, K, ...] that the refinement works on: the same, or with more, impossible classes."""
    return logits


def crop_classes(logits: paddle.Tensor, num_classes: int) -> paddle.Tensor:
    """Undoes `pad_classes`."""
    return logits


def upsample(logits: paddle.Tensor) -> paddle.Tensor:
    """Doubles height and width of [N, K, H, W], bilinear, align_corners=False."""
    return F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)


def uncertainty(logits: paddle.Tensor) -> paddle.Tensor:
    """Subtracts the best from the second-best class, [N, K, ...] -> [N, 1, ...]; -|logit| for one class."""
    if logits.shape[1] == 1:
        return -logits.abs()
    best, second = top2(split_classes(logits))
    return second - best


def sampler(features: paddle.Tensor) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """Prepares a map [N, C, H, W] to be read in several steps: point_coords [N, P, 2] -> [N, C, P]."""
    return functools.partial(point_sample, features)


def write_points(logits: paddle.Tensor, indices: paddle.Tensor, point_logits: paddle.Tensor) -> paddle.Tensor:
    """Writes points into a map; the map itself is changed.

    Does what scatter_paddle does, for indices that are known to be right.

    Args:
        logits: [N, K, H, W].
        indices: int64 [N, P], y * W + x.
        point_logits: [N, K', P] with K' <= K; the last classes of the map stay as they are.
    """
    index = indices.unsqueeze(1).expand([-1, point_logits.shape[1], -1])
    flat = logits.flatten(2).put_along_axis_(index, point_logits.astype(logits.dtype), axis=2, broadcast=False)
    return flat.reshape(logits.shape)


def point_mlp(
    head: nn.Layer, fine_features: paddle.Tensor, coarse_logits: paddle.Tensor, classes: paddle.Tensor | None = None
) -> paddle.Tensor:
    """Runs a PointHead as matrix products; the coarse logits have one of their own, so nothing is concatenated.

    What is added is added in place: on CPU a new tensor of this size costs more than the sum.

    Args:
        head: a PointHead.
        fine_features: [N, C, P].
        coarse_logits: [N, K, P].
        classes: int64 [N], the class that is wanted of each, or None for all.

    Returns:
        [N, K, P], or [N, 1, P] of `classes`.
    """
    x = fine_features
    for i, layer in enumerate([*head.layers, head.predictor]):
        weight, bias = layer.weight.squeeze(2), layer.bias.unsqueeze(1)
        if layer is head.predictor and classes is not None:
            weight, bias = (paddle.gather(parameter, classes).unsqueeze(1) for parameter in (weight, bias))
        product = paddle.matmul(weight[..., : x.shape[1]], x)
        if i == 0 or head.coarse_in_every_layer:
            product.add_(paddle.matmul(weight[..., x.shape[1] :], coarse_logits))
        x = product.add_(bias.astype(product.dtype))
        if layer is not head.predictor:
            x = F.relu_(x)
    return x


@dataclasses.dataclass(frozen=True)
class Execution:
    """One way of executing the operations of a refinement; what is not given is done as in this file."""

    name: str
    pad_classes: Callable = pad_classes
    crop_classes: Callable = crop_classes
    upsample: Callable = upsample
    uncertainty: Callable = uncertainty
    sampler: Callable = sampler
    write_points: Callable = write_points
    point_mlp: Callable = point_mlp


GENERIC = Execution("generic")


def split_classes(logits: paddle.Tensor) -> list[paddle.Tensor]:
    """Splits logits [N, K, ...] into K tensors [N, 1, ...]."""
    return paddle.split(logits, logits.shape[1], axis=1)


def top2(class_logits: list[paddle.Tensor]) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Finds the best and the second-best of at least two by a tournament, exact under ties.

    A topk over the classes takes ten times as long.
    """
    if len(class_logits) == 1:
        return class_logits[0], None  # type: ignore[return-value]  # inside the tournament only
    half = len(class_logits) // 2
    (left, left_second), (right, right_second) = top2(class_logits[:half]), top2(class_logits[half:])
    second = paddle.minimum(left, right)
    for runner_up in (left_second, right_second):
        if runner_up is not None:
            second = paddle.maximum(second, runner_up)
    return paddle.maximum(left, right), second
