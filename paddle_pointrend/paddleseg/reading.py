"""How PaddleSeg's datasets read: lists, images and labels through our readers, every mistake with its file."""

from __future__ import annotations

import copy
import importlib
import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from paddleseg.datasets import Dataset
from paddleseg.transforms import Compose
from PIL import Image

from paddle_pointrend.data.images import ImageError, read_image
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.data.lists import read_pairs
from paddle_pointrend.errors import UsageError, one_line

_ORIENTATION = 0x0112  # the EXIF tag


class CheckedCompose:
    """PaddleSeg's Compose, to which images and labels come read and of one size. Any other attribute is Compose's."""

    def __init__(self, compose: Compose, *, whole: bool = False):
        self.compose = compose
        self._whole = whole  # whether files that end too early are looked for, which takes as long again

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Reads the files that "img" and "label" name, and applies the transforms.

        Raises:
            UsageError: a file that cannot be read, a label of another size than its image, an image that a transform
                does not take.
        """
        paths = {key: data.get(key) for key in ("img", "label")}
        if isinstance(paths["img"], str):
            data["img"] = _read_image(paths["img"], self.compose.img_channels, self._whole)
        if isinstance(paths["label"], str):
            data["label"] = read_label(paths["label"])
        if isinstance(data.get("label"), np.ndarray):
            _check_same_size(data, paths)
        try:
            return self.compose(data)
        except UsageError:
            raise
        except Exception as error:  # whatever a transform fails with on this image
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise UsageError(f"{paths['img']}: the config's transforms do not take this image: {reason}") from error

    def without_transforms(self, *, whole: bool) -> CheckedCompose:
        """Makes one that reads the same files, to their end if `whole`, and changes nothing."""
        compose = copy.copy(self.compose)
        compose.transforms = []
        return CheckedCompose(compose, whole=whole)

    def __getattr__(self, name):
        if name == "compose":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.compose, name)


def build_dataset(build: Callable[[], Dataset], separator: str = " ") -> Dataset:
    """Builds a dataset of PaddleSeg that reads its list, images and labels through our readers.

    Args:
        build: makes the dataset. One that has transforms or reads lists of another kind goes on as PaddleSeg wrote it.
        separator: between the columns of its list.

    Raises:
        UsageError: a list that cannot be read; a line without two columns.
    """
    module: Any = importlib.import_module(Dataset.__module__)
    pairs: list[list[str]] = []

    def open_list(path, *args):
        pairs[:] = read_pairs(path, separator)
        return io.StringIO(f"image{separator}label\n" * len(pairs))

    module.open = open_list  # looked up in the module before the built-in one
    try:
        dataset = build()
    finally:
        del module.open
    if pairs:
        dataset.file_list = [[os.path.join(dataset.dataset_root, path) for path in pair] for pair in pairs]
    if isinstance(getattr(dataset, "transforms", None), Compose):
        dataset.transforms = CheckedCompose(dataset.transforms)
    return dataset


def _read_image(path, channels, whole):
    """float32 [H, W, 3] in BGR, which Compose turns into RGB, or [H, W]."""
    try:
        pixels = read_image(path, channels, whole=whole)
    except ImageError as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return (pixels if channels == 1 else pixels[..., ::-1]).astype("float32")


def _check_same_size(data, paths):
    image_size, label_size = data["img"].shape[:2], data["label"].shape[:2]
    if image_size == label_size:
        return
    image, label = (_name(paths[key], key) for key in ("img", "label"))
    (height, width), (label_height, label_width) = image_size, label_size
    hint = "make them of one size"
    if image_size == label_size[::-1] and _is_turned(paths["img"]):
        hint = "the photograph has an EXIF orientation, which is obeyed: turn the label too, or take the tag out"
    raise UsageError(f"{label} is {label_width}x{label_height}, its image {image} {width}x{height}; {hint}")


def _name(path, otherwise):
    return path if isinstance(path, str) else f"the {otherwise}"


def _is_turned(path):
    try:
        with Image.open(path) as image:
            return image.getexif().get(_ORIENTATION, 1) > 1
    except (OSError, SyntaxError, ValueError, TypeError):
        return False
