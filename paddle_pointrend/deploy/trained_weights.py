"""A layer with trained weights in a faster runtime than eager Paddle: it is exported on the way."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.runtimes import (
    RUNTIMES,
    EagerRuntime,
    Runtime,
    check_installed,
    check_precision,
    installed_runtimes,
    load_runtime,
    runtimes_computing_in,
)
from paddle_pointrend.errors import one_line

if TYPE_CHECKING:
    from paddle import nn

MANY_IMAGES = 20  # from here on it pays to export the model first, which takes seconds
_log = logging.getLogger(__name__)


def choose_runtime(precision: str = "fp32", *, many_images: bool = True) -> str:
    """Names the fastest of RUNTIMES for trained weights.

    That is "paddle" for few images in fp32 and on another device than the CPU, where no export pays. For another
    precision than fp32 it may be one that is not installed.

    Args:
        precision: one of PRECISIONS but int8.
        many_images: whether there are MANY_IMAGES, or large ones.
    """
    if precision != "fp32":
        return runtimes_computing_in(precision)[0]
    if not many_images or paddle_device() != "cpu":
        return EagerRuntime.name
    has_onnx = importlib.util.find_spec("paddle2onnx") is not None
    return next(name for name in installed_runtimes() if has_onnx or RUNTIMES[name].format != "onnx")


def runtime_of_layer(
    layer: nn.Layer,
    name: str | None,
    folder: str | os.PathLike,
    *,
    transforms: Sequence[dict] = (),
    num_threads: int | None = None,
    device: str | None = None,
    precision: str = "fp32",
) -> Runtime | EagerRuntime:
    """Loads a layer into a runtime; for all but "paddle" it is exported first.

    Args:
        layer: a segmentation model with trained weights.
        name: one of RUNTIMES; None for the one of `choose_runtime`, and eager Paddle where the export fails in fp32.
        folder: where to export to; it has to stay as long as the runtime.
        transforms: PaddleSeg's val transforms as dicts, to note in the folder.
        num_threads, device, precision: as of `load_runtime`; None for `default_device`.

    Raises:
        ExportError: the layer cannot be exported.
        RuntimeLoadError, ValueError: as of `load_runtime`.
    """
    if precision == "int8":
        raise ValueError("int8 needs an exported folder: export --precision int8 --calibration FOLDER_OF_IMAGES")
    chosen = name or choose_runtime(precision)
    check_precision(chosen, precision)
    check_installed(chosen)
    file_format = RUNTIMES[chosen].format
    if file_format is None:
        return EagerRuntime(layer)
    from paddle_pointrend.deploy.export import export_model

    _log.info(f"Exporting the model for {chosen}; runtime paddle runs it as it is")
    try:
        export_model(layer, folder, format=file_format, transforms=transforms)
    except ExportError as error:
        if name or precision != "fp32":
            raise
        _log.warning(f"The model cannot be exported, so eager Paddle runs it: {one_line(error)}")
        return EagerRuntime(layer)
    device = device or default_device(chosen)
    return load_runtime(chosen, folder, num_threads=num_threads, device=device, precision=precision)


def default_device(runtime: str) -> str:
    """Names the device for one of RUNTIMES: "gpu" for Paddle's own where Paddle computes on one, else "cpu"."""
    return "gpu" if paddle_device() == "gpu" and RUNTIMES[runtime].package == "paddle" else "cpu"


def paddle_device() -> str:
    """Names the device that Paddle is set to, without its number."""
    import paddle

    return paddle.get_device().partition(":")[0]
