"""Masks of objects in COCO's forms: polygons, run lengths as lists, compressed run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddle_pointrend.errors import UsageError


def coco_masks() -> Any:
    """Imports pycocotools.mask. UsageError where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UsageError(
            "instances need pycocotools, which is not installed: pip install 'paddle-pointrend[instance]'"
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
        ValueError: neither of these, or run lengths of another size.
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
    if isinstance(counts, list):
        if sum(counts) != height * width or min(counts) < 0:
            raise ValueError(f"its run lengths add up to {sum(counts)} pixels, the image has {height * width}")
        return masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    if not isinstance(counts, (str, bytes)):
        raise ValueError(f"its counts are a {type(counts).__name__}, expected a list or a compressed str")
    try:
        return {"size": [height, width], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
    except UnicodeEncodeError as error:
        raise ValueError("its compressed counts are not ASCII") from error


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
    return segmentation
