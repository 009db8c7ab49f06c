"""Masks whose colours are classes: a folder of images, one of masks, and a file that lists the colours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from paddle_pointrend.data.annotations.label_files import ListedClass
from paddle_pointrend.data.annotations.mask_files import color_code, draw_colors, find_pairs, number_classes
from paddle_pointrend.data.annotations.types import Annotations, LabelledImage
from paddle_pointrend.errors import UsageError

MASK_FOLDERS = ("masks", "labels")


def read_mask_rgb(
    source: Path, *, listed: Sequence[ListedClass], images: Path | None = None, ignored: Collection[str] = ()
) -> Annotations:
    """Reads SOURCE/images and SOURCE/masks (or labels), whose files have the same names but for the suffix.

    Args:
        source: the folder.
        listed: the classes with their colours, in the order that their ids are to have.
        images: folder of the images, instead of SOURCE/images.
        ignored: names of what is not judged.

    Raises:
        UsageError: a folder is missing, a class has no colour, a mask has no image.
    """
    masks = next((source / name for name in MASK_FOLDERS if (source / name).is_dir()), None)
    if masks is None:
        raise UsageError(f"{source}: no folder of masks in it, expected one named {' or '.join(MASK_FOLDERS)}")
    images = images or source / "images"
    classes, ids = number_classes(listed, [color_code(entry) for entry in listed], ignored)
    labelled = [
        LabelledImage(image.relative_to(images).as_posix(), mask, image.read_bytes, partial(draw_colors, mask, ids))
        for image, mask in find_pairs(images, masks)
    ]
    return Annotations(classes, labelled)
