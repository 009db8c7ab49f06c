"""Runs a layer in eager Paddle, which is imported when a layer is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paddle_pointrend.inference.logits import check_class_count

if TYPE_CHECKING:
    from paddle import nn


class EagerRuntime:
    """A layer of Paddle, as it is; of a list of outputs the first counts.

    The number of threads is OMP_NUM_THREADS as it was when Paddle was imported. A device "gpu" is set with
    paddle.set_device, for the whole process, and was not measured.

    Args:
        layer: put into eval mode.
        device: "cpu", "gpu" or another of Paddle's; None for the one that is set.
    """

    name = "paddle"
    format = None
    package = "paddle"
    extra = None
    precisions = ("fp32",)

    def __init__(self, layer: nn.Layer, device: str | None = None):
        import paddle

        if device is not None:
            paddle.set_device(device)
        layer.eval()
        self._layer = layer

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._logits(images).numpy()

    def labels(self, images: np.ndarray) -> np.ndarray:
        """Computes labels uint8 [N, H, W] where the logits are: on a GPU to copy those takes longer than the argmax.

        Raises:
            OutputError: more than 256 classes.
        """
        import paddle.nn.functional as F

        logits = self._logits(images)
        check_class_count(logits.shape[1])
        if tuple(logits.shape[2:]) != images.shape[2:]:
            logits = F.interpolate(logits, images.shape[2:], mode="bilinear")
        return logits.argmax(axis=1).astype("uint8").numpy()

    def _logits(self, images):
        import paddle

        with paddle.no_grad():
            outputs = self._layer(paddle.to_tensor(images))
        return outputs[0] if isinstance(outputs, (list, tuple)) else outputs
