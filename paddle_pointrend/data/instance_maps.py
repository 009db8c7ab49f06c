"""Maps of instance ids, as Cityscapes has them (*_instanceIds.png), to COCO's format.

A pixel's id is 1000 times its category and the object's number, or the category alone where objects that could not be
told apart stand together: a crowd.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from paddle_pointrend.data.labels import read_label

FACTOR = 1000


def coco_of_maps(files: Iterable[tuple[str, str | os.PathLike]], categories: Mapping[int, str]) -> dict[str, Any]:
    """Makes a data set in COCO's format of instance maps.

    Args:
        files: (the image's file name in the data set, its instance map's path).
        categories: id -> name of the categories that count; others are left out.

    Returns:
        What a JSON file of COCO's format holds, masks as run lengths.

    Raises:
        UsageError: a map that cannot be read.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, path) in enumerate(files, start=1):
        ids = read_label(path).astype(np.int64)
        height, width = ids.shape
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for item in _objects(ids, categories):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **item})
    named = [{"id": number, "name": name} for number, name in categories.items()]
    return {"images": images, "annotations": annotations, "categories": named}


def _objects(ids, categories):
    for value in np.unique(ids).tolist():
        crowd = value < FACTOR
        category = value if crowd else value // FACTOR
        if category not in categories:
            continue
        mask = ids == value
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        yield {
            "category_id": category,
            "bbox": [int(side) for side in box],
            "area": int(mask.sum()),
            "iscrowd": int(crowd),
            "segmentation": {"size": list(mask.shape), "counts": _run_lengths(mask)},
        }


def _run_lengths(mask):
    """Run lengths down the columns, the first of zeros; without pycocotools, which who draws scenes may not have."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), mask.size)
    return np.diff(ends, prepend=0).tolist()
