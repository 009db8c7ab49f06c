"""Masks of objects in COCO's forms: polygons, run lengths as lists, compressed run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddle_pointrend.errors import UsageError

_FARTHEST = 2**20  # a corner in pixels; with 1e9 pycocotools ends the process


def coco_masks() -> Any:
    """Imports pycocotools.mask. UsageError where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UsageError(
            'instances need pycocotools, which is not installed: pip install -c constraints.txt -e ".[instance]"'
        ) from error
    return mask


def decode_mask(segmentation: Sequence | Mapping, height: int, width: int) -> np.ndarray:
    """Draws an object's segmentation into an image's size.

    Args:
        segmentation: polygons, a list of [x0, y0, x1, y1, ...] in pixels, of which those of fewer than three corners
            cover nothing; or run lengths {"size": [H, W], "counts": list or str}.
        height, width: of the image.

    Returns:
        bool [H, W].

    Raises:
        ValueError: neither of these, run lengths of another size, or a corner more than 2^20 pixels away.
    """
    masks = coco_masks()
    if isinstance(segmentation, Mapping):
        return masks.decode(as_run_lengths(segmentation, height, width)).astype(bool)
    polygons = [polygon for polygon in check_polygons(segmentation) if len(polygon) >= 6]
    if not polygons:
        return np.zeros((height, width), bool)
    return masks.decode(masks.merge(masks.frPyObjects(polygons, height, width))).astype(bool)


def as_run_lengths(segmentation: Sequence | Mapping, height: int, width: int) -> dict[str, Any]:
    """Makes compressed run lengths {"size": [H, W], "counts": bytes} of a segmentation; arguments as `decode_mask`."""
    masks = coco_masks()
    if not isinstance(segmentation, Mapping):
        return masks.encode(np.asfortranarray(decode_mask(segmentation, height, width), np.uint8))
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if list(size or []) != [height, width]:
        raise ValueError(f"its run lengths are of size {size}, the image of {[height, width]} (height, width)")
    if not isinstance(counts, (list, str, bytes)):
        raise ValueError(f"its counts are a {type(counts).__name__}, expected a list or a compressed str")
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    # pycocotools reads on behind the end of what is too short.
    runs = counts if isinstance(counts, list) else _decompress(counts)
    if not all(isinstance(run, (int, np.integer)) and run >= 0 for run in runs):
        raise ValueError("its run lengths are not whole numbers from 0 on")
    if sum(runs) != height * width:
        raise ValueError(f"its run lengths add up to {sum(runs)} pixels, the image has {height * width}")
    if isinstance(counts, list):
        return masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": counts}


def _decompress(counts):
    """Reads COCO's compressed run lengths: characters of five bits, the lowest first, a sixth where more follow.

    From the fourth number on each is the difference from the one before the last.
    """
    runs, value, bits = [], 0, 0
    for character in counts:
        code = character - ord("0")
        if not 0 <= code < 64:
            raise ValueError("its compressed counts have a character that these do not use")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:  # negative
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    if bits:
        raise ValueError("its compressed counts end within a number")
    return runs


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encodes a mask, bool [H, W], as JSON takes it: {"size": [H, W], "counts": str}."""
    encoded = coco_masks().encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


def check_polygons(segmentation: Any) -> list[list[float]]:
    """Returns a segmentation that is a list of polygons. ValueError for anything else, and for half a corner."""
    if not isinstance(segmentation, list) or not all(isinstance(polygon, list) for polygon in segmentation):
        raise ValueError("its segmentation is neither a list of polygons nor run lengths {size, counts}")
    for polygon in segmentation:
        if len(polygon) % 2 or not np.isfinite(np.asarray(polygon, float)).all():
            raise ValueError(f"a polygon has {len(polygon)} numbers, expected finite pairs x, y")
        if max(map(abs, polygon), default=0) > _FARTHEST:
            raise ValueError(f"a corner of a polygon is more than {_FARTHEST} pixels away")
    return segmentation
