"""EISeg's folders: images, and in `label/` what it saves of them.

Source: github.com/PaddlePaddle/PaddleSeg, EISeg/eiseg/app.py (saveImage): NAME.png in grey, NAME_pseudo.png with a
palette, NAME_cutout.png, annotations.json (COCO), labelme/NAME_labelme.json, labelme/labels.txt.
"""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from paddle_pointrend.data.annotations.label_files import ListedClass, read_label_file
from paddle_pointrend.data.annotations.mask_files import draw_ids
from paddle_pointrend.data.annotations.types import Annotations, LabelledImage, class_ids
from paddle_pointrend.data.images import ImageError, find_images
from paddle_pointrend.data.json_files import read_json
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.errors import UsageError

LABEL_FOLDER = "label"


def read_eiseg(
    source: Path,
    *,
    listed: Sequence[ListedClass] | None = None,
    images: Path | None = None,
    ignored: Collection[str] = (),
) -> Annotations:
    """Reads the masks that EISeg saves, in grey or pseudo colour: values are its labels' numbers, 0 is background.

    Args:
        source: the folder of the images, whose subfolder `label` EISeg writes into; with `images` that folder itself.
        listed: the classes, with their numbers or of 1, 2, ...; None for what annotations.json or labels.txt say, and
            for class_1, class_2, ... where neither is there.
        images: folder of the images.
        ignored: names of what is not judged.

    Raises:
        UsageError: a folder is missing, no image has a mask.
    """
    folder = source if images else source / LABEL_FOLDER
    images = images or source
    masks = _find_masks(images, folder)
    if not masks:
        raise UsageError(
            f"{folder}: no masks of the images in {images}, expected NAME.png or NAME_pseudo.png; for EISeg's "
            "annotations.json say --from coco, for its folder labelme say --from labelme"
        )
    names = _names(folder, masks) if listed is None else _numbered(listed)
    classes, ids = class_ids([names[value] for value in sorted(names)], ignored)
    values = {0: 0} | {value: ids[name] for value, name in names.items()}
    labelled = [
        LabelledImage(image.relative_to(images).as_posix(), mask, image.read_bytes, partial(draw_ids, mask, values))
        for image, mask in masks.items()
    ]
    return Annotations(classes, labelled)


def _find_masks(images, folder):
    """dict from an image to its mask, the grey one if there are both."""
    try:
        paths = [Path(path) for path in find_images(images)[0]]
    except ImageError as error:
        raise UsageError(str(error)) from error
    masks = {}
    for image in paths:
        if folder in image.parents:
            continue
        found = [folder / f"{image.stem}.png", *sorted(folder.glob(f"{glob.escape(image.stem)}_pseudo.*"))]
        mask = next((path for path in found if path.is_file()), None)
        if mask is not None:
            masks[image] = mask
    return masks


def _names(folder, masks):
    """dict from a mask's values, 0 left out, to the names of its classes."""
    coco = folder / "annotations.json"
    if coco.is_file():
        try:
            return {int(entry["id"]): str(entry["name"]).strip() for entry in read_json(coco)["categories"]}
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise UsageError(f"{coco}: its categories have no id and name, as EISeg writes them") from error
    for file in (folder / "labels.txt", folder / "labelme" / "labels.txt"):
        if file.is_file():
            return _numbered(read_label_file(file)[1:])  # the first, __ignore__, stands for 0
    values = np.unique(np.concatenate([np.unique(read_label(mask)) for mask in masks.values()]))
    return {value: f"class_{value}" for value in values.tolist() if value}


def _numbered(listed):
    return {entry.id or number: entry.name for number, entry in enumerate(listed, start=1)}
