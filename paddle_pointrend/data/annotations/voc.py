"""PASCAL VOC's layout: JPEGImages, SegmentationClass, ImageSets/Segmentation; exports of CVAT and labelme too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from paddle_pointrend.data.annotations.label_files import ListedClass, read_label_file
from paddle_pointrend.data.annotations.mask_files import (
    color_code,
    draw_colors,
    draw_ids,
    find_pairs,
    number_classes,
)
from paddle_pointrend.data.annotations.types import IGNORED, IGNORED_NAMES, Annotations, LabelledImage
from paddle_pointrend.data.lists import read_list
from paddle_pointrend.errors import UsageError

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
LABEL_FILES = ("labelmap.txt", "class_names.txt")  # CVAT's, labelme's


def read_voc(
    source: Path,
    *,
    listed: Sequence[ListedClass] | None = None,
    images: Path | None = None,
    ignored: Collection[str] = (),
) -> Annotations:
    """Reads a folder in VOC's layout: masks of class ids with a palette, 255 ignored, or of colours that are listed.

    Where ImageSets/Segmentation has train.txt and val.txt, images keep their split and others are left out.

    Args:
        source: the folder, such as VOCdevkit/VOC2012.
        listed: the classes in the order of their ids; None for labelmap.txt or class_names.txt in the folder, and for
            VOC's own where neither is there.
        images: folder of the images, instead of SOURCE/JPEGImages.
        ignored: names of what is not judged.

    Raises:
        UsageError: a folder is missing, a mask has no image, masks of colours whose classes are not listed.
    """
    images, masks = images or source / "JPEGImages", source / "SegmentationClass"
    if not masks.is_dir():
        raise UsageError(f"{source}: no folder SegmentationClass in it, which VOC's layout has")
    file = next((source / name for name in LABEL_FILES if (source / name).is_file()), None)
    if listed is None:
        listed = read_label_file(file) if file else [ListedClass(name) for name in VOC_CLASSES]
    pairs = find_pairs(images, masks)
    if _has_colors(pairs[0][1]):
        draw, keys = draw_colors, [color_code(entry) for entry in listed]
    else:
        listed = [entry for entry in listed if entry.name not in IGNORED_NAMES]  # labelme's, which has no id
        draw, keys = draw_ids, list(range(len(listed)))
    classes, ids = number_classes(listed, keys, ignored)
    if draw is draw_ids:  # among colours, 255 is blue
        ids.setdefault(IGNORED, IGNORED)
    splits = _read_splits(source / "ImageSets" / "Segmentation")
    labelled = []
    for image, mask in pairs:
        name = image.relative_to(images)
        split = splits.get(name.with_suffix("").as_posix())
        if split or not splits:
            labelled.append(
                LabelledImage(name.as_posix(), mask, image.read_bytes, partial(draw, mask, ids), split=split)
            )
    left_out = len(pairs) - len(labelled)
    notes = [f"{left_out} masks stand in neither train.txt nor val.txt and were left out"] if left_out else []
    return Annotations(classes, labelled, notes)


def _has_colors(mask):
    try:
        with Image.open(mask) as image:
            return image.mode in ("RGB", "RGBA")
    except (OSError, SyntaxError, ValueError):
        return False  # said when it is read


def _read_splits(folder):
    """dict from an image's name to its split; empty unless both lists are there."""
    files = {split: folder / f"{split}.txt" for split in ("train", "val")}
    if not all(file.is_file() for file in files.values()):
        return {}
    return {row[0]: split for split, file in files.items() for row in read_list(file)}
