"""PaddleSeg's transforms of a validation dataset, from an image to a network's input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from paddle import nn
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.transforms import Compose

from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg.configs import build, is_instance_config, path_of


class Preprocessing:
    """Any of PaddleSeg's transforms, in the form that Predictor takes.

    Args:
        transforms: of the dataset, in their order.
        image_channels: 3 for RGB, 1 for grey.
    """

    def __init__(self, transforms: Sequence[Callable[[dict], dict]], image_channels: int = 3):
        self.image_channels = image_channels
        # PaddleSeg's Compose expects OpenCV's BGR, images here are RGB.
        self._transform = Compose(list(transforms), to_rgb=False, img_channels=image_channels)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, list]:
        """Transforms an image, uint8 [H, W, 3] in RGB or [H, W] in grey.

        Returns:
            The network's input float32 [h, w, C], and trans_info, the sizes to bring predictions back to.
        """
        data = self._transform({"img": image.astype(np.float32)})
        return np.asarray(data["img"], np.float32).transpose(1, 2, 0), data["trans_info"]


def val_preprocessing(config: Config) -> Preprocessing:
    """Builds the preprocessing of a config's val_dataset. UsageError for wrong transforms, and for instances."""
    if is_instance_config(config):
        raise UsageError(f"--config {path_of(config)}: its model finds instances, a Predictor labels")
    transforms = build(SegBuilder(config), path_of(config), "val_transforms")
    return Preprocessing(transforms, config.val_dataset_cfg.get("img_channels", 3))


def channels_first(model: nn.Layer) -> nn.Layer:
    """Wraps a model of PaddleSeg's whose data_format is NHWC, so that it takes and makes [N, C, H, W] as all others."""
    return _ChannelsFirst(model) if getattr(model, "data_format", "NCHW") == "NHWC" else model


class _ChannelsFirst(nn.Layer):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return [output.transpose((0, 3, 1, 2)) for output in self.model(x.transpose((0, 2, 3, 1)))]
