"""Files that a visitor of the page uploads: read once within limits, and deleted."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image

from paddle_pointrend.data.images import ImageError, any_size, read_image
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.errors import UsageError

# Formats that no other program is started for, whatever a file's name says (Pillow hands EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MOST_PIXELS = 64_000_000
LONGEST_SIDE = 2048  # a longer photograph is shrunk: the logits of 12 megapixels take gigabytes


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A photograph, RGB uint8 [h, w, 3], perhaps shrunk, and the (height, width) of its file."""

    pixels: np.ndarray
    file_size: tuple[int, int]


def read_photograph(path: str | os.PathLike) -> Photograph:
    """Reads an uploaded photograph and deletes the file. ImageError for what is none or too large."""
    with _deleted_afterwards(path):
        _check_head(path)
        pixels = read_image(path)
    height, width = pixels.shape[:2]
    factor = LONGEST_SIDE / max(height, width)
    if factor < 1:
        size = [max(1, round(side * factor)) for side in (width, height)]
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return Photograph(pixels, (height, width))


def read_truth(path: str | os.PathLike, photograph: Photograph) -> np.ndarray:
    """Reads the uploaded label of a photograph, brings it to the size of its pixels, and deletes the file.

    Returns:
        integers [h, w].

    Raises:
        ImageError: no picture, or one that is too large.
        UsageError: not one channel of class ids, or of another size than the photograph.
    """
    with _deleted_afterwards(path):
        _check_head(path)
        try:
            label = read_label(path)
        except UsageError as error:
            raise UsageError(str(error).replace(os.fspath(path), "the label")) from error
    if label.shape != photograph.file_size:
        sizes = ["x".join(str(side) for side in reversed(size)) for size in (label.shape, photograph.file_size)]
        raise UsageError(f"the label has {sizes[0]} pixels, the photograph {sizes[1]}")
    height, width = photograph.pixels.shape[:2]
    return cv2.resize(label.astype(np.int32), (width, height), interpolation=cv2.INTER_NEAREST)


@contextlib.contextmanager
def _deleted_afterwards(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    finally:
        pathlib.Path(path).unlink(missing_ok=True)


def _check_head(path):
    Image.init()  # makes all formats known
    try:
        with any_size(), Image.open(path, formats=FORMATS) as image:
            pixels = image.width * image.height
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"this is no picture that can be read, expected {', '.join(FORMATS)}") from error
    if pixels > MOST_PIXELS:
        raise ImageError(f"the picture has {pixels / 1e6:.0f} megapixels, expected at most {MOST_PIXELS // 10**6}")
