"""From an image to a network's input, without PaddleSeg: a resize, the order of channels, mean and std."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from paddle_pointrend.data.transforms import RandomResize
from paddle_pointrend.deploy.deploy_file import DeployFile
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.errors import one_line


class Preprocess(Protocol):
    """What makes a network's input of an image; `paddleseg.Preprocessing` does any of PaddleSeg's transforms.

    A call takes an image, uint8 [H, W, 3] in RGB or [H, W] in grey, and returns the input float32 [h, w, C] and
    PaddleSeg's trans_info, the sizes that predictions have to be brought back to.
    """

    image_channels: int  # 3 for RGB, 1 for grey

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, list]: ...


class Preprocessing:
    """The transforms of PaddleSeg that need no PaddleSeg: Normalize, RGBToBGR, a RandomResize with nothing random.

    Args:
        mean, std: of the input's three channels, in pixel values 0 to 255: the input is (pixel - mean) / std.
        channels: "rgb" or "bgr", the order that the network reads.
        resize: the transform, applied first.

    Raises:
        ValueError: not three numbers each, a std of 0, an unknown order of channels.
    """

    image_channels = 3

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], channels: str = "rgb", resize: RandomResize | None = None
    ):
        for name, values in (("mean", mean), ("std", std)):
            if np.shape(values) != (3,):
                raise ValueError(
                    f"{name} is {values}, expected three numbers: only images of three channels are predicted"
                )
        if 0 in std:
            raise ValueError(f"std is {std}, expected no 0")
        if channels not in ("rgb", "bgr"):
            raise ValueError(f"channels is {channels!r}, expected 'rgb' or 'bgr'")
        self._mean, self._std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self._reverse = channels == "bgr"
        self._resize = resize

    @classmethod
    def of_export(cls, deploy: DeployFile, folder: str | os.PathLike) -> Preprocessing:
        """Reads it from an exported folder's description.

        Raises:
            RuntimeLoadError: the folder's transforms are others, or they resize and the network makes labels.
            ValueError: an image of other than three channels.
        """
        resize = _resize_among(deploy.transforms, folder)
        if resize and deploy.makes_labels:
            raise RuntimeLoadError(f"the transforms of {folder} resize the image, so export it with --output logits")
        return cls(deploy.mean, deploy.std, deploy.channels, resize)

    @property
    def resizes(self) -> bool:
        """Whether it needs the whole image; if not, `normalize` does all of it on any part."""
        return self._resize is not None

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, list]:
        """As of Preprocess."""
        if self._resize is None:
            return self.normalize(image), []
        data = self._resize({"img": image.astype(np.float32), "trans_info": []})
        return self.normalize(data["img"].astype(np.uint8)), data["trans_info"]

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """Normalises uint8 [..., 3] in RGB into float32 of the same shape, in the order of channels that is read."""
        if self._reverse:
            pixels = pixels[..., ::-1]
        return (pixels.astype(np.float32) - self._mean) / self._std


def only_normalizes(transforms: Sequence[dict]) -> bool:
    """Tells whether PaddleSeg's transforms, as dicts, are what `Preprocessing` does to any part of an image."""
    return [transform.get("type") for transform in transforms] in (["Normalize"], ["RGBToBGR", "Normalize"])


def _resize_among(transforms, folder):
    """The RandomResize among an exported network's transforms that has nothing random, or None.

    Raises:
        RuntimeLoadError: there are others than it, Normalize and RGBToBGR, or it is not the first of those that count.
    """
    resize = None
    for index, transform in enumerate(transforms):
        options = {key: value for key, value in transform.items() if key != "type"}
        pixels_are_whole = all(before["type"] == "RGBToBGR" for before in transforms[:index])
        if (
            transform["type"] == "RandomResize"
            and list(options.pop("ratio_range", [1, 1])) == [1, 1]
            and pixels_are_whole
        ):
            try:
                resize = RandomResize(**options)
            except (TypeError, ValueError) as error:
                raise RuntimeLoadError(f"the transforms of {folder} have {transform}: {one_line(error)}") from error
        elif transform["type"] not in ("Normalize", "RGBToBGR"):
            raise RuntimeLoadError(
                f"the transforms of {folder} have {transform}, which the predictor does not do there; "
                "export with a config whose val transforms only normalise, or use paddle-pointrend predict"
            )
    return resize
