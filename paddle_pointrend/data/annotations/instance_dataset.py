"""Writes COCO's objects as a data set of instances: images, and checked annotations of train and of val."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddle_pointrend.data.annotations.coco import find_annotations, read_objects
from paddle_pointrend.data.annotations.dataset import copy_image, file_names, split_images
from paddle_pointrend.data.annotations.types import AnnotatedImage
from paddle_pointrend.data.coco import CocoData, CocoImage
from paddle_pointrend.data.masks import decode_mask
from paddle_pointrend.errors import UsageError, one_line


@dataclass
class FoundInstances:
    """What was written: names of the classes, numbers of images and, int64 [K], of objects in each split."""

    classes: list[str]
    images: dict[str, int]
    objects: dict[str, np.ndarray]


def write_instances(
    source: Path,
    folder: Path,
    *,
    images: Path | None = None,
    val_share: float = 0.2,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
) -> FoundInstances:
    """Writes images/ and annotations/instances_train.json, instances_val.json of a COCO file or folder.

    Args:
        source, images: as of `read_coco`.
        folder: where to write; it exists and is empty.
        val_share, seed, progress: as of `write_dataset`.

    Raises:
        UsageError: wrong annotations, images that cannot be read or are of another size, masks that cannot be drawn or
            cover nothing.
    """
    parts = {split: read_objects(file, images) for split, file in find_annotations(source).items()}
    first = next(iter(parts.values()))
    for data in parts.values():
        if (data.category_ids, data.class_names) != (first.category_ids, first.class_names):
            raise UsageError(f"{first.path} and {data.path} have different categories")
    records, listed = {}, []
    for split, data in parts.items():
        for record in data.images:
            image = _as_image(record, data, split)
            listed.append(image)
            records[id(image)] = record
    names = file_names(listed)
    found = FoundInstances(first.class_names, {}, {})
    done = 0
    (folder / "annotations").mkdir()
    for split, chosen in split_images(listed, val_share, seed).items():
        content: dict[str, list[Any]] = {"images": [], "annotations": []}
        for image in chosen:
            size = copy_image(image, folder / "images" / names[id(image)])
            _add(content, records[id(image)], names[id(image)], size)
            done += 1
            if progress:
                progress(done)
        categories = [{"id": i, "name": name} for i, name in zip(first.category_ids, first.class_names)]
        text = json.dumps({**content, "categories": categories}, ensure_ascii=False)
        (folder / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")
        ids = [item["category_id"] for item in content["annotations"]]
        found.images[split] = len(chosen)
        found.objects[split] = np.array([ids.count(number) for number in first.category_ids])
    return found


def _as_image(record: CocoImage, data: CocoData, split: str) -> AnnotatedImage:
    path = Path(record.path)
    return AnnotatedImage(record.file_name, Path(data.path), path.read_bytes, split=split or None)


def _add(content, record, name, size):
    """Adds an image and its objects to a COCO file's lists, numbered anew."""
    if size != (record.height, record.width):
        raise UsageError(f"{record.path} is {size[1]}x{size[0]}, its annotations say {record.width}x{record.height}")
    number = len(content["images"]) + 1
    content["images"].append({"id": number, "file_name": name, "height": record.height, "width": record.width})
    for item in record.objects:
        try:
            if not decode_mask(item["segmentation"], *size).any():
                raise ValueError("its mask covers no pixel")
        except (OverflowError, TypeError, ValueError) as error:
            raise UsageError(f"{record.path}: object {item.get('id')}: {one_line(error)}") from error
        content["annotations"].append({**item, "id": len(content["annotations"]) + 1, "image_id": number})
