"""Images on disk: found, measured and read, the same for every command."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from paddle_pointrend.data.lists import read_lines, split_columns
from paddle_pointrend.errors import UsageError, one_line

_TIFF_SUFFIXES = (".tif", ".tiff")
_SUFFIXES = (
    *(
        ".jpg",
        ".jpeg",
        ".mpo",
        ".png",
        ".apng",
        ".bmp",
        ".webp",
        ".gif",
        ".avif",
        ".jp2",
        ".j2k",
        ".ppm",
        ".pgm",
        ".pnm",
    ),
    *_TIFF_SUFFIXES,
)
MOST_PIXELS = 2**30  # OpenCV's own limit


class ImageError(ValueError):
    """An image that cannot be found, read or written; the message says why."""


def find_images(path: str | os.PathLike, separator: str = " ") -> tuple[list[str], str | None]:
    """Finds the images that a path names: an image, a folder with subfolders, or a text file that lists images.

    A line of the text file names an image, relative to the file, and perhaps its label in a second column. Where the
    whole line is the name of a file, that is the image, whatever blanks it has.

    Args:
        path: the image, folder or text file.
        separator: between the columns of the text file, as of `lists.read_list`.

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
    elif path.lower().endswith(_SUFFIXES):
        return [path], None
    else:
        images, root = _read_list(path, separator), os.path.dirname(path)
    if not images:
        raise ImageError(f"{path}: there are no images in it")
    return list(dict.fromkeys(images)), root


def read_image(path: str | os.PathLike, channels: int = 3, *, whole: bool = True) -> np.ndarray:
    """Reads an image as 8 bits, whatever it has on disk.

    An EXIF orientation is obeyed, of several frames the first counts, what is transparent lies over white. Of 16 bits
    the upper 8 count, or of an image without values above 4095 the upper 8 of 12. Floating point numbers go from 0 to 1
    if none is above 1, else from 0 to 255, or where one is outside from the smallest to the largest.

    Args:
        path: the file, in a format that OpenCV or Pillow knows, whatever its name.
        channels: 3 for RGB, 1 for grey.
        whole: whether to check that the file does not end too early, which takes as long again.

    Returns:
        uint8 [H, W, 3] in RGB, or [H, W] in grey.

    Raises:
        ImageError: there is no such file, neither library can read it, it ends too early, or it has pixels that are no
            finite numbers.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ImageError("there is no such file")
    if _is_transparent(path):  # OpenCV leaves the transparency out
        return _read_with_pillow(path, channels)
    try:
        pixels = cv2.imread(path, (cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR) | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageError(one_line(error)) from error  # more pixels than OpenCV's limit
    if pixels is None:
        return _read_with_pillow(path, channels)
    if whole:
        _check_end(path)
    pixels = _as_8_bits(pixels)
    return pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def check_pixels(image: object, channels: int = 3) -> np.ndarray:
    """Returns an image in memory that is what `read_image` gives: uint8 [H, W, 3] in RGB, or [H, W] in grey.

    Raises:
        ValueError: it is something else, or has no pixels.
    """
    expected, last = ("[H, W] in grey", ()) if channels == 1 else ("[H, W, 3] in RGB", (3,))
    if not isinstance(image, np.ndarray):
        hint = "cv2.imread gives None for a file that it cannot read" if image is None else "np.asarray makes one"
        hint = "paddle_pointrend.data.images.read_image reads a file" if isinstance(image, str | os.PathLike) else hint
        raise ValueError(f"the image is a {type(image).__name__}, expected an array uint8 {expected}; {hint}")
    if (image.dtype, image.ndim, image.shape[2:]) != (np.uint8, 2 + len(last), last):
        raise ValueError(f"the image is {image.dtype} {list(image.shape)}, expected an array uint8 {expected}")
    if 0 in image.shape:
        raise ValueError(f"the image is {list(image.shape)}: it has no pixels")
    return image


def count_pixels(path: str | os.PathLike) -> int:
    """Counts the pixels that an image's head promises; 0 where it cannot be read."""
    try:
        with any_size(), Image.open(path) as image:
            return image.width * image.height
    except (OSError, SyntaxError, ValueError):  # UnidentifiedImageError is an OSError
        return 0


def is_tiff(path: str | os.PathLike) -> bool:
    """Tells a TIFF by its name."""
    return pathlib.Path(path).suffix.lower() in _TIFF_SUFFIXES


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Lifts Pillow's limit on pixels inside: OpenCV has its own, and labels of large pictures are meant to be large."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _walk(folder):
    for root, _, names in os.walk(folder):
        if ".ipynb_checkpoints" not in root:
            for name in names:
                if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                    yield os.path.join(root, name)


def _read_list(path, separator):
    try:
        lines = read_lines(path)
    except UsageError as error:
        raise ImageError(f"{path}: neither an image ({', '.join(_SUFFIXES)}) nor a list of images: {error}") from error
    folder, images = os.path.dirname(path), []
    for _, line in lines:
        image = os.path.join(folder, line)
        images.append(image if os.path.isfile(image) else os.path.join(folder, split_columns(line, separator)[0]))
    return [image for image in images if not os.path.isdir(image)]


def _read_with_pillow(path, channels):
    try:
        with any_size(), Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ImageError(f"it claims to have {image.width}x{image.height} pixels, more than 2^30")
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                image = Image.fromarray(_as_8_bits(np.asarray(image)))
            if image.mode == "I" or image.mode.startswith("I;16"):
                image = Image.fromarray(_as_8_bits(np.asarray(image).astype(np.uint16)))
            return np.asarray(_over_white(image).convert("L" if channels == 1 else "RGB"))
    except UnidentifiedImageError as error:
        raise ImageError("not an image that OpenCV or Pillow can read") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(one_line(error)) from error


def _is_transparent(path):
    try:
        with any_size(), Image.open(path) as image:
            return image.has_transparency_data and not image.mode.startswith("I")
    except (OSError, SyntaxError, ValueError):
        return False


def _over_white(image):
    if not image.has_transparency_data or image.mode.startswith("I"):
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _as_8_bits(pixels):
    if pixels.dtype.kind == "f":
        return _floats_as_8_bits(pixels)
    if pixels.dtype == np.uint16:
        return (pixels >> (4 if pixels.max() < 4096 else 8)).astype(np.uint8)
    return pixels if pixels.dtype == np.uint8 else np.clip(pixels, 0, 255).astype(np.uint8)


def _floats_as_8_bits(pixels):
    least, most = float(pixels.min()), float(pixels.max())
    if not np.isfinite([least, most]).all():
        raise ImageError("it has pixels that are no finite numbers; save it with 8 or 16 bits")
    if least < 0 or most > 255:
        pixels = (pixels - least) / (most - least) * 255
    elif most <= 1:
        pixels = pixels * 255
    return np.rint(pixels).astype(np.uint8)


def _check_end(path):
    """Raises ImageError for a truncated file: OpenCV fills the rest of it with grey and says nothing."""
    try:
        with any_size(), Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        pass  # a format that OpenCV knows and Pillow does not
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(str(error)) from error
