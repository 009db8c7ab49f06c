"""COCO's annotations of objects, as label maps: smaller objects lie above larger ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from paddle_pointrend.data.annotations.types import Annotations, LabelledImage, class_ids
from paddle_pointrend.data.coco import CocoData, CocoImage, coco_area
from paddle_pointrend.data.masks import decode_mask
from paddle_pointrend.errors import UsageError, one_line

# A split's annotations below the source: COCO's own layout, Roboflow's.
_SPLITS = {
    "train": ("annotations/instances_train*.json", "train/_annotations.coco.json"),
    "val": ("annotations/instances_val*.json", "valid/_annotations.coco.json"),
}
# All annotations in one file: EISeg's and labelme's, Roboflow's, CVAT's.
_SINGLE = ("annotations.json", "_annotations.coco.json", "annotations/instances_default.json", "label/annotations.json")


def read_coco(
    source: Path, *, images: Path | None = None, classes: Sequence[str] | None = None, ignored: Collection[str] = ()
) -> Annotations:
    """Reads a COCO file, or a folder that holds one, or one for train and one for val, whose split is kept.

    Args:
        source: the file or folder.
        images: folder that the files' names count from; None to look for it beside the annotations.
        classes: names in the order of their ids; None for the categories in the order of theirs.
        ignored: names of what is not judged.

    Raises:
        UsageError: no annotations, wrong ones, images that are not there, an object whose name `classes` lacks.
    """
    files = find_annotations(source)
    data = {split: read_objects(file, images) for split, file in files.items()}
    names = [name for part in data.values() for name in part.class_names]
    listed, ids = class_ids(names if classes is None else classes, ignored)
    labelled = []
    for split, part in data.items():
        names_of = dict(zip(part.category_ids, part.class_names))
        used = {names_of[item["category_id"]] for image in part.images for item in image.objects}
        unknown = sorted(used - set(ids))
        if unknown:
            raise UsageError(f"{part.path}: the classes {', '.join(unknown)} are not listed; list or ignore them")
        numbers = {number: ids[name] for number, name in names_of.items() if name in ids}
        for image in part.images:
            draw = partial(draw_objects, image, numbers)
            labelled.append(
                LabelledImage(image.file_name, Path(part.path), Path(image.path).read_bytes, draw, split=split or None)
            )
    return Annotations(listed, labelled)


def find_annotations(source: Path) -> dict[str, Path]:
    """Finds a source's files: dict from "train" and "val" to theirs, or from "" to the only one.

    Raises:
        UsageError: there is none, or several that are not known by their names.
    """
    if source.is_file():
        return {"": source}
    splits: dict[str, Path] = {}
    for split, patterns in _SPLITS.items():
        found = [file for pattern in patterns for file in sorted(source.glob(pattern))]
        splits |= {split: found[0]} if found else {}
    if len(splits) == 2:
        return splits
    single = [source / name for name in _SINGLE if (source / name).is_file()] or sorted(source.glob("*.json"))
    if len(single) != 1:
        names = ", ".join(str(file.relative_to(source)) for file in single) or "none"
        raise UsageError(f"{source}: expected one JSON file of COCO's form in it, found {names}; name the file itself")
    return {"": single[0]}


def read_objects(file: Path, images: Path | None = None) -> CocoData:
    """Reads a COCO file whose images lie in `images`, or beside it: in its folder, or one named images.

    Raises:
        UsageError: wrong annotations, images that are not there.
    """
    above, part = file.parent.parent, file.stem.removeprefix("instances_")  # train2017
    beside = [file.parent, file.parent / "images", above, above / "images", above / "images" / part, above / part]
    places = [images] if images else beside
    data = CocoData(file, places[0])
    first = data.images[0].file_name
    folder = next((place for place in places if (place / first).is_file()), None)
    if folder is None:
        raise UsageError(f"{file}: its image {first} lies neither in {places[0]} nor beside it; name its --images")
    data = CocoData(file, folder)
    missing = [image.path for image in data.images if not Path(image.path).is_file()]
    if missing:
        raise UsageError(f"{file}: {len(missing)} of its images are missing, the first is {missing[0]}")
    return data


def draw_objects(image: CocoImage, ids: Mapping[int, int], height: int, width: int) -> np.ndarray:
    """Draws an image's objects from the largest to the smallest upon the background.

    Args:
        image: with its objects.
        ids: dict from a category's id to a class id.
        height, width: of the image file.

    Returns:
        uint8 [height, width].

    Raises:
        UsageError: the annotations are of another size, a mask that cannot be drawn.
    """
    if (image.height, image.width) != (height, width):
        raise UsageError(f"{image.path} is {width}x{height}, its annotations say {image.width}x{image.height}")
    label = np.zeros((height, width), np.uint8)
    for item in sorted(image.objects, key=coco_area, reverse=True):
        try:
            label[decode_mask(item["segmentation"], height, width)] = ids[item["category_id"]]
        except (OverflowError, TypeError, ValueError) as error:
            raise UsageError(f"{image.path}: object {item.get('id')}: {one_line(error)}") from error
    return label
