"""What every reader of annotations hands over: the classes, and for each image a function that draws its label map."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

BACKGROUND, IGNORED = "background", 255
# What labelme calls the two: an area that is nothing in particular, and one that is not judged.
BACKGROUND_NAMES, IGNORED_NAMES = ("_background_", BACKGROUND), ("__ignore__",)


@dataclass(frozen=True)
class AnnotatedImage:
    """One image, not read yet.

    name: of the image, perhaps with folders, with its suffix. origin: the file that holds the annotation, for messages.
    content: gives the image file's bytes. split: "train" or "val" where the source has decided.
    """

    name: str
    origin: Path
    content: Callable[[], bytes]
    split: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class LabelledImage(AnnotatedImage):
    """One image and its label map, neither of them read yet.

    draw: takes the image's height and width, gives class ids uint8 [H, W], 255 where nothing is judged; raises
    UsageError.
    """

    draw: Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Annotations:
    """What a source holds. classes: names in the order of their ids. notes: what was left out, a sentence each."""

    classes: list[str]
    images: list[LabelledImage]
    notes: list[str] = field(default_factory=list)


def class_ids(names: Sequence[str], ignored: Collection[str] = ()) -> tuple[list[str], dict[str, int]]:
    """Numbers the classes of objects that are drawn upon a background, which is class 0.

    Args:
        names: of the objects' classes, in the order that they are to have; labelme's `_background_` and `__ignore__`
            may be among them.
        ignored: names of what is not judged.

    Returns:
        (the classes in the order of their ids, dict from each name to its id, 255 for the ignored).
    """
    classes = list(dict.fromkeys(name for name in names if name not in (*BACKGROUND_NAMES, *IGNORED_NAMES, *ignored)))
    ids = {name: number for number, name in enumerate(classes, start=1)}
    ids |= dict.fromkeys(BACKGROUND_NAMES, 0) | dict.fromkeys((*IGNORED_NAMES, *ignored), IGNORED)
    return [BACKGROUND, *classes], ids
