"""Writes annotated images as PaddleSeg's data sets: images, one-channel PNGs, lists of train and val, the classes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image

from paddle_pointrend.data.annotations.types import IGNORED, AnnotatedImage, Annotations
from paddle_pointrend.data.images import ImageError, read_image
from paddle_pointrend.errors import UsageError

SPLITS = ("train", "val")
_Image = TypeVar("_Image", bound=AnnotatedImage)


@dataclass
class Found:
    """What was written.

    classes: K names. names: of the images of each split. pixels: int64 [K + 1], of each class and, last, ignored.
    images: for each split, int64 [K], in how many images each class occurs. shorter_sides: of the images, in pixels.
    """

    classes: list[str]
    names: dict[str, list[str]]
    pixels: np.ndarray
    images: dict[str, np.ndarray]
    shorter_sides: list[int] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Says which classes occur nowhere, and which in one split alone; a sentence each."""
        in_train, in_val = (self.images[split] > 0 for split in SPLITS)
        cases = (
            (~in_train & ~in_val, "no image; leave such classes out, or label some"),
            (in_train & ~in_val, "train, but not in val, which cannot judge them; another --seed may help"),
            (in_val & ~in_train, "val, but not in train, so that they are not learnt; another --seed may help"),
        )
        return [
            f"{', '.join(self.classes[number] for number in np.flatnonzero(which))}: in {where}"
            for which, where in cases
            if which.any()
        ]


def split_images(images: Sequence[_Image], val_share: float, seed: int) -> dict[str, list[_Image]]:
    """Divides images into train and val: as their source has, else by chance, the same for the same seed and names.

    Raises:
        UsageError: not at least one image for each.
    """
    ordered = sorted(images, key=lambda image: image.name)
    given = all(image.split for image in ordered)
    if given:
        parts = {split: [image for image in ordered if image.split == split] for split in SPLITS}
    else:
        num_val = max(1, round(val_share * len(ordered)))
        chosen = set(random.Random(seed).sample(range(len(ordered)), min(num_val, len(ordered))))
        parts = {
            "train": [image for number, image in enumerate(ordered) if number not in chosen],
            "val": [image for number, image in enumerate(ordered) if number in chosen],
        }
    empty = [split for split in SPLITS if not parts[split]]
    if empty:
        raise UsageError(f"{len(ordered)} annotated images leave none for {empty[0]}; two are needed at least")
    return parts


def write_dataset(
    annotations: Annotations,
    folder: Path,
    *,
    val_share: float = 0.2,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Found:
    """Writes images/, labels/, train.txt, val.txt and labels.txt, and checks all that goes into them.

    Args:
        annotations: what was read.
        folder: where to write; it exists and is empty.
        val_share: share of the images that are held out, where the source has no split of its own.
        seed: of the split.
        progress: is told the number of images done.

    Raises:
        UsageError: too many classes or too few, images or labels that cannot be read or do not fit; it names the first.
    """
    num_classes = len(annotations.classes)
    if not 2 <= num_classes <= IGNORED:
        raise UsageError(f"there are {num_classes} classes ({', '.join(annotations.classes[:4])}), expected 2 to 255")
    parts = split_images(annotations.images, val_share, seed)
    names = file_names(annotations.images)
    found = Found(
        annotations.classes,
        {split: [names[id(image)] for image in part] for split, part in parts.items()},
        np.zeros(num_classes + 1, np.int64),
        {split: np.zeros(num_classes, np.int64) for split in parts},
    )
    mistakes, done = [], 0
    for split, part in parts.items():
        lines = []
        for image in part:
            try:
                lines.append(_write_image(image, names[id(image)], folder, found, split))
            except UsageError as error:
                mistakes.append(str(error))
            done += 1
            if progress:
                progress(done)
        (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    if mistakes:
        more = f" ({len(mistakes) - 1} more images have mistakes)" if len(mistakes) > 1 else ""
        raise UsageError(mistakes[0] + more)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in found.classes), encoding="utf-8")
    return found


def file_names(images: Sequence[AnnotatedImage]) -> dict[int, str]:
    """Makes the images' names in the data set: without blanks, which stand between the columns of PaddleSeg's lists.

    Returns:
        dict from an image's id() to its name.

    Raises:
        UsageError: two images would have one name.
    """
    names: dict[int, str] = {}
    owners: dict[str, AnnotatedImage] = {}
    for image in images:
        path = PurePosixPath(*(part for part in PurePosixPath(image.name).parts if part not in ("..", "/", "//")))
        name = re.sub(r"\s+", "_", path.as_posix())
        owner = owners.setdefault(PurePosixPath(name).with_suffix("").as_posix().lower(), image)
        if owner is not image:
            raise UsageError(f"{owner.name} of {owner.origin} and {image.name} of {image.origin} would be one file")
        names[id(image)] = name
    return names


def copy_image(image: AnnotatedImage, target: Path) -> tuple[int, int]:
    """Copies an image and reads it: its height and width. UsageError if it cannot be copied or read to its end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.write_bytes(image.content())
        height, width = read_image(target).shape[:2]
        return height, width
    except OSError as error:
        raise UsageError(f"{image.origin}: its image {image.name} cannot be copied: {error.strerror}") from error
    except ImageError as error:
        raise UsageError(f"{image.origin}: its image {image.name} cannot be read: {error}") from error


def _write_image(image, name, folder, found, split):
    """Writes one image and its label; returns its line of the list."""
    height, width = copy_image(image, folder / "images" / name)
    label_name = PurePosixPath("labels", name).with_suffix(".png")
    (folder / label_name).parent.mkdir(parents=True, exist_ok=True)
    label = image.draw(height, width)
    Image.fromarray(label).save(folder / label_name)
    counts = np.bincount(label.ravel(), minlength=IGNORED + 1)
    num_classes = len(found.classes)
    found.pixels += np.append(counts[:num_classes], counts[IGNORED])
    found.images[split] += counts[:num_classes] > 0
    found.shorter_sides.append(min(height, width))
    return f"images/{name} {label_name}\n"
