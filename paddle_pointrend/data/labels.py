"""Label maps from files: class ids of any integer depth, or an error that names the file."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps

from paddle_pointrend.data.images import any_size
from paddle_pointrend.errors import UsageError, one_line

# Pillow's modes of one channel of whole numbers. "P" is a palette: its indices are the classes.
_INTEGER_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
# Formats of photographs, which change values. WebP can be without loss, but it has colours only.
_LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "AVIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg")  # Pillow's names of compressions
_COLOUR_MODES = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def read_label(path: str | os.PathLike) -> np.ndarray:
    """Reads a label map: a PNG, TIFF, BMP, ... of one channel whose values are class ids.

    8, 16 and 32 bits give the same map for the same ids. Of several frames the first counts; an EXIF orientation is
    obeyed, as for images.

    Returns:
        [H, W], uint8 where every value fits, else int32.

    Raises:
        UsageError: no such file, one that is no image or ends too early, a JPEG or another format that changes values,
            colours or fractions instead of class ids.
    """
    if not os.path.isfile(path):
        raise UsageError(f"{path}: there is no such file")
    try:
        with any_size(), Image.open(path) as image:
            if image.format in _LOSSY_FORMATS or image.info.get("compression") in _LOSSY_TIFF:
                raise UsageError(
                    f"{path} is compressed as a photograph ({image.format}), which changes class ids; write the labels "
                    "as PNG, from their source, not from this file"
                )
            if image.mode not in _INTEGER_MODES:
                raise UsageError(f"{path} {_describe(image.mode)}")
            values = np.asarray(ImageOps.exif_transpose(image))
    except UsageError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # UnidentifiedImageError is an OSError
        raise UsageError(f"cannot read {path}: {one_line(error)}") from error
    fits = values.size == 0 or (values.min() >= 0 and values.max() <= 255)
    return values.astype(np.uint8 if fits else np.int32)


def _describe(mode):
    if mode == "F":
        return "holds fractions (32-bit floats), expected class ids; save it as 8-bit or 16-bit integers"
    if mode in _COLOUR_MODES:
        return f"holds colours ({mode}), expected one channel of class ids; save it as a grey or palette image"
    return f"has more than one channel ({mode}), expected one of class ids; save it without transparency"
