"""Data sets of instances in COCO's format: one JSON file that lists images, objects and classes."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddle_pointrend.data.images import MOST_PIXELS, ImageError, read_image
from paddle_pointrend.data.json_files import read_json
from paddle_pointrend.data.masks import as_run_lengths, decode_mask
from paddle_pointrend.errors import UsageError, one_line

_LONGEST_SIDE = 2**20  # of an image


@dataclass
class CocoImage:
    """An image that a data set lists.

    Attributes:
        id: its number in the JSON file.
        file_name: its name there, below the folder of images.
        path: of the file.
        height, width: in pixels, as the JSON file has them.
        objects: its annotations, in COCO's form and in the file's order.
    """

    id: int
    file_name: str
    path: str
    height: int
    width: int
    objects: list[dict[str, Any]] = field(default_factory=list)


class CocoData:
    """What a COCO annotation file says, checked.

    Args:
        annotations: the JSON file.
        images: the folder that its file names count from.

    Attributes:
        images: list of CocoImage, in the file's order.
        class_names: names of the classes; class i is the category with the i-th smallest id.
        category_ids: the ids of these categories.

    Raises:
        UsageError: the file is missing, not of this format, or wrong in an entry, which is named.
    """

    def __init__(self, annotations: str | os.PathLike, images: str | os.PathLike) -> None:
        self.path = os.fspath(annotations)
        content = _read_content(self.path)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        self.category_ids = [category["id"] for category in categories]
        self.class_names = [str(category["name"]).strip() for category in categories]
        self.images = [_image(record, images, self.path) for record in content["images"]]
        by_id = {image.id: image for image in self.images}
        for what, ids in (("images", [image.id for image in self.images]), ("categories", self.category_ids)):
            if not ids:
                raise UsageError(f"{self.path}: there are no {what} in it")
            if len(set(ids)) < len(ids):
                raise UsageError(f"{self.path}: two of its {what} have the same id")
        for item in content["annotations"]:
            with self.naming(item):
                _check_object(item, by_id, self.category_ids)
            by_id[item["image_id"]].objects.append(item)

    @contextlib.contextmanager
    def naming(self, item: Mapping[str, Any]) -> Iterator[None]:
        """Turns what a wrong value raises inside into a UsageError that names the annotation."""
        try:
            yield
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise UsageError(f"{self.path}: annotation {item.get('id', 'without an id')}: {one_line(error)}") from error

    def as_dict(self) -> dict[str, Any]:
        """Returns the data set as pycocotools takes it: every object with run lengths, an area and an id above 0."""
        annotations: list[dict[str, Any]] = []
        for image in self.images:
            for item in image.objects:
                with self.naming(item):
                    rle = as_run_lengths(item["segmentation"], image.height, image.width)
                kept = {key: item[key] for key in ("image_id", "category_id", "bbox")}
                crowd = int(item.get("iscrowd", 0))
                annotations.append(
                    {**kept, "segmentation": rle, "area": coco_area(item), "iscrowd": crowd, "id": len(annotations) + 1}
                )
        return {
            "images": [{"id": image.id, "height": image.height, "width": image.width} for image in self.images],
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names)],
        }


def coco_area(item: Mapping[str, Any]) -> float:
    """Gives the area of an annotation in pixels; its box's where it says none."""
    return item.get("area", item["bbox"][2] * item["bbox"][3])


def read_coco_image(image: CocoImage) -> np.ndarray:
    """Reads an image of a data set, uint8 [H, W, 3] in RGB.

    Raises:
        UsageError: it cannot be read, or has another size than the data set says.
    """
    try:
        pixels = read_image(image.path, whole=False)
    except ImageError as error:
        raise UsageError(f"cannot read {image.path}: {error}") from error
    height, width = pixels.shape[:2]
    if (height, width) != (image.height, image.width):
        turned = "; an EXIF orientation is obeyed" if (width, height) == (image.height, image.width) else ""
        said = f"{image.width}x{image.height}"
        raise UsageError(f"{image.path} is {width}x{height} (width x height), the annotations say {said}{turned}")
    return pixels


def true_instances(image: CocoImage) -> tuple[np.ndarray, np.ndarray]:
    """Draws an image's objects: boxes, float64 [G, 4], x1 y1 x2 y2 in pixels, and masks, bool [G, H, W]."""
    boxes = np.array([item["bbox"] for item in image.objects], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = np.zeros((len(boxes), image.height, image.width), bool)
    for mask, item in zip(masks, image.objects):
        mask[:] = decode_mask(item["segmentation"], image.height, image.width)
    return boxes, masks


def _read_content(path):
    content = read_json(pathlib.Path(path))
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UsageError(f"{path}: no list of {key}, which COCO's format for instances has")
    for key, fields in (("images", ("id", "file_name", "height", "width")), ("categories", ("id", "name"))):
        for entry in content[key]:
            missing = [name for name in fields if name not in entry]
            if missing:
                raise UsageError(f"{path}: an entry of {key} has no {missing[0]}: {str(entry)[:80]}")
            wrong = [name for name in ("id", "height", "width") if not _is_whole(entry.get(name, 0))]
            if wrong and not (key == "images" and wrong == ["id"] and isinstance(entry["id"], str)):
                raise UsageError(f"{path}: an entry of {key} has no whole number as {wrong[0]}: {str(entry)[:80]}")
            wrong = [name for name in ("height", "width") if not 1 <= entry.get(name, 1) <= _LONGEST_SIDE]
            if wrong:
                expected = f"expected 1 to {_LONGEST_SIDE} pixels"
                raise UsageError(f"{path}: {wrong[0]} of an image is {entry[wrong[0]]}, {expected}: {str(entry)[:80]}")
            if not isinstance(entry.get("name", ""), (str, int)):
                raise UsageError(f"{path}: an entry of {key} has no text as name: {str(entry)[:80]}")
    return content


def _is_whole(value):
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _image(record, folder, file):
    name, height, width = str(record["file_name"]), int(record["height"]), int(record["width"])
    if height * width > MOST_PIXELS:
        raise UsageError(f"{file}: image {record['id']} is {width}x{height}, expected at most {MOST_PIXELS} pixels")
    return CocoImage(record["id"], name, os.path.join(folder, name), height, width)


def _check_object(item, images, categories):
    """Raises KeyError, TypeError or ValueError for an annotation that is not one."""
    if item["image_id"] not in images:
        raise ValueError(f"image_id {item['image_id']} is not in the list of images")
    if item["category_id"] not in categories:
        raise ValueError(f"category_id {item['category_id']} is not in the list of categories")
    box = np.asarray(item["bbox"], float)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"bbox is {item['bbox']}, expected four numbers x, y, width, height")
    if not isinstance(item["segmentation"], (list, Mapping)):
        raise ValueError("its segmentation is neither a list of polygons nor run lengths {size, counts}")
    if not isinstance(item.get("area", 0), (int, float)) or not np.isfinite(item.get("area", 0)):
        raise ValueError(f"area is {item['area']}, expected a number")
    if item.get("iscrowd", 0) not in (0, 1):
        raise ValueError(f"iscrowd is {item['iscrowd']}, expected 0 or 1")
