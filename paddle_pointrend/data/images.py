"""Images on disk: found, measured and read, the same for every command."""

from __future__ import annotations

import contextlib
import os
import pathlib

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_TIFF_SUFFIXES = (".tif", ".tiff")


class ImageError(ValueError):
    """An image that cannot be found, read or written; the message says why."""


def find_images(path: str | os.PathLike) -> tuple[list[str], str | None]:
    """Finds the images that a path names: an image, a folder with subfolders, or a text file that lists images.

    A line of the text file names an image, relative to the file, and perhaps its label after a space. TIFFs count only
    where they are named.

    Returns:
        The images, each once, a folder's in order of their names; and the folder that subfolders count from, None for
        one image.

    Raises:
        ImageError: there is nothing at the path, or nothing in it.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        images, root = sorted(_walk(path)), path
    elif not os.path.isfile(path):
        raise ImageError(f"{path}: there is no such file or folder")
    elif path.lower().endswith((*_SUFFIXES, *_TIFF_SUFFIXES)):
        return [path], None
    else:
        images, root = _read_list(path), os.path.dirname(path)
    if not images:
        raise ImageError(f"{path}: there are no images in it")
    return list(dict.fromkeys(images)), root


def read_image(path: str | os.PathLike, channels: int = 3) -> np.ndarray:
    """Reads an image as 8 bits, whatever it has on disk.

    Args:
        path: the file.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8 [H, W, 3] in RGB, or [H, W] in grey.

    Raises:
        ImageError: there is no such file, OpenCV cannot read it, or it ends too early.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ImageError("there is no such file")
    try:
        pixels = cv2.imread(path, cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(" ".join(str(error).split())) from error  # more pixels than OpenCV's limit
    if pixels is None:
        raise ImageError("not an image that OpenCV can read")
    try:
        _read_to_its_end(path)
    except UnidentifiedImageError:
        pass  # a format that OpenCV knows and Pillow does not
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(str(error)) from error
    return pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def count_pixels(path: str | os.PathLike) -> int:
    """Counts the pixels that an image's head promises; 0 where it cannot be read."""
    try:
        with _any_size(), Image.open(path) as image:
            return image.width * image.height
    except (OSError, SyntaxError, ValueError):  # UnidentifiedImageError is an OSError
        return 0


def is_tiff(path: str | os.PathLike) -> bool:
    """Tells a TIFF by its name."""
    return pathlib.Path(path).suffix.lower() in _TIFF_SUFFIXES


def _walk(folder):
    for root, _, names in os.walk(folder):
        if ".ipynb_checkpoints" not in root:
            for name in names:
                if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                    yield os.path.join(root, name)


def _read_list(path):
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ImageError(
            f"{path}: neither an image (.jpg, .jpeg, .png, .bmp, .tif) nor a text file listing images"
        ) from error
    images = [os.path.join(os.path.dirname(path), line.split()[0]) for line in lines if line.strip()]
    return [image for image in images if not os.path.isdir(image)]


def _read_to_its_end(path):
    """Reads an image with Pillow: OpenCV fills the rest of a truncated file with grey and says nothing."""
    with _any_size(), Image.open(path) as image:
        image.load()


@contextlib.contextmanager
def _any_size():
    """Without Pillow's limit on pixels: OpenCV has its own."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
