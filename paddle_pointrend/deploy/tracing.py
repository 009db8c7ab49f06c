"""Replaces functions of Paddle that do not convert while a model is traced.

So any PaddleSeg model converts, without a change of its code.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.deploy.errors import ExportError


def save_graph(layer: nn.Layer, path: pathlib.Path, spec: Sequence[paddle.static.InputSpec], format: str) -> None:
    """Traces a layer and writes Paddle's inference format to path.json and path.pdiparams.

    Args:
        layer: has the network as its `model`.
        path: of the files, without a suffix.
        spec: of the layer's inputs.
        format: "paddle" or "onnx", to which it will be converted.

    Raises:
        ExportError: Paddle cannot trace it.
    """
    layer.eval()
    with convertible_functions(format):
        try:
            paddle.jit.save(paddle.jit.to_static(layer, input_spec=list(spec), full_graph=True), str(path))
        except Exception as error:  # whatever a third-party model makes Paddle's tracer raise
            raise ExportError(f"Paddle cannot trace {type(layer.model).__name__}: {error}") from error


@contextlib.contextmanager
def convertible_functions(format: str) -> Iterator[None]:
    """Replaces functions of Paddle inside the block by ones that convert; results are the same but for rounding.

    Args:
        format: "paddle" or "onnx", to which the traced model will be converted.
    """
    with contextlib.ExitStack() as replaced:
        replaced.enter_context(_replaced(F, "interpolate", with_size_for_scale_factor))
        if format == "onnx":
            replaced.enter_context(_replaced(F, "adaptive_avg_pool2d", with_products_for_cells))
            replaced.enter_context(_replaced(paddle.nn.layer.norm, "layer_norm", with_means_over_axes))
        yield


@contextlib.contextmanager
def _replaced(module: ModuleType, name: str, wrap: Callable[[Callable], Callable]) -> Iterator[None]:
    """Puts wrap(the function) in the place of a module's function, inside the block."""
    before = getattr(module, name)
    setattr(module, name, wrap(before))
    try:
        yield
    finally:
        setattr(module, name, before)


def with_size_for_scale_factor(interpolate: Callable) -> Callable:
    """Makes an interpolate of which a whole factor is traced as the size that it leads to.

    paddle2onnx 2.1.0 does not read the scale factors that Paddle 3.3 writes ("the 0th elementwise MUST be
    ir::FloatAttribute"). The result is the same.
    """

    def with_size(x, size=None, scale_factor=None, *args, **kwargs):
        factors = scale_factor if isinstance(scale_factor, (list, tuple)) else [scale_factor] * (x.ndim - 2)
        if size is None and all(isinstance(f, (int, float)) and f == int(f) for f in factors):
            sizes = paddle.shape(x)[2:]
            size, scale_factor = [sizes[i] * int(f) for i, f in enumerate(factors)], None
        return interpolate(x, size, scale_factor, *args, **kwargs)

    return with_size


def with_products_for_cells(adaptive_avg_pool2d: Callable) -> Callable:
    """Makes an adaptive_avg_pool2d of which more than one cell is traced as two matrix products.

    paddle2onnx 2.1.0 converts it for maps of a fixed size only. The result is the same but for rounding.
    """

    def as_products(x, output_size, data_format="NCHW", name=None):
        counts = [output_size] * 2 if isinstance(output_size, int) else [output_size[0], output_size[1]]
        if data_format != "NCHW" or all(isinstance(count, int) and count == 1 for count in counts):
            return adaptive_avg_pool2d(x, output_size, data_format, name)
        for axis, count in zip((2, 3), counts):
            if count is not None:
                means = _cell_means(paddle.shape(x)[axis].astype("int64"), count).astype(x.dtype)
                x = paddle.matmul(means, x) if axis == 2 else paddle.matmul(x, means, transpose_y=True)
        return x

    return as_products


def _cell_means(size, count):
    """Makes float32 [count, size]: row i takes the mean of floor(i * size / count) to ceil((i + 1) * size / count)."""
    pixels, cells = paddle.arange(size, dtype="int64"), paddle.arange(count, dtype="int64").unsqueeze(1)
    first, end = cells * size // count, ((cells + 1) * size + count - 1) // count
    inside = paddle.logical_and(pixels >= first, pixels < end)
    return inside.astype("float32") / (end - first).astype("float32")


def with_means_over_axes(layer_norm: Callable) -> Callable:
    """Makes a layer_norm of which a norm over more than one axis is traced step by step.

    paddle2onnx 2.1.0 writes its weight as one axis, which then does not fit.
    """

    def step_by_step(x, normalized_shape, weight=None, bias=None, epsilon=1e-05, name=None):
        shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
        if len(shape) == 1:
            return layer_norm(x, normalized_shape, weight, bias, epsilon, name)
        axes = list(range(-len(shape), 0))
        x = x - x.mean(axes, keepdim=True)
        x = x / (x.square().mean(axes, keepdim=True) + epsilon).sqrt()
        x = x if weight is None else x * weight.reshape(shape)
        return x if bias is None else x + bias.reshape(shape)

    return step_by_step
