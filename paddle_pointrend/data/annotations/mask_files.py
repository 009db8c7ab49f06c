"""Masks as image files, of colours or of values: found beside their images, and read as class ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from paddle_pointrend.data.annotations.label_files import ListedClass
from paddle_pointrend.data.annotations.types import BACKGROUND, BACKGROUND_NAMES, IGNORED, IGNORED_NAMES
from paddle_pointrend.data.images import ImageError, find_images, read_image
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.errors import UsageError


def find_pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pairs the images of a folder, and its subfolders, with the masks that have their names but for the suffix.

    Raises:
        UsageError: a folder that is not there or empty, two files of one name, a mask without an image. (An image
            without a mask is not annotated.)
    """
    by_stem = {folder: files_by_stem(folder) for folder in (images, masks)}
    alone = sorted(by_stem[masks].keys() - by_stem[images].keys())
    if alone:
        raise UsageError(f"{len(alone)} masks in {masks} have no image in {images}, the first is {alone[0]}")
    return [(by_stem[images][stem], mask) for stem, mask in by_stem[masks].items()]


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Finds a folder's images by their path below it, without the suffix. UsageError: none, or two of one name."""
    try:
        paths = [Path(path) for path in find_images(folder)[0]]
    except ImageError as error:
        raise UsageError(str(error)) from error
    stems: dict[str, Path] = {}
    for path in paths:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in stems:
            raise UsageError(f"{stems[stem]} and {path} have one name but for the suffix; rename or remove one")
        stems[stem] = path
    return stems


def number_classes(
    listed: Sequence[ListedClass], keys: Sequence[int], ignored: Collection[str]
) -> tuple[list[str], dict[int, int]]:
    """Numbers classes in their order.

    Args:
        listed: the classes.
        keys: what stands in masks for each of them, a value or `color_code`.
        ignored: names of what is not judged; `__ignore__` is one already.

    Returns:
        (names in the order of their ids, dict from a key to an id, 255 for the ignored).
    """
    classes: list[str] = []
    ids = {}
    for entry, key in zip(listed, keys):
        if entry.name in (*IGNORED_NAMES, *ignored):
            ids[key] = IGNORED
        else:
            ids[key] = len(classes)
            classes.append(BACKGROUND if entry.name in BACKGROUND_NAMES else entry.name)
    return classes, ids


def color_code(entry: ListedClass) -> int:
    """Puts a class's colour into one number, red * 2^16 + green * 2^8 + blue. UsageError if it has none."""
    if entry.color is None:
        raise UsageError(f"the class {entry.name} has no colour in the list of classes, expected NAME R G B")
    red, green, blue = entry.color
    return red << 16 | green << 8 | blue


def draw_colors(path: Path, ids: Mapping[int, int], height: int, width: int) -> np.ndarray:
    """Reads a mask of colours as class ids.

    Args:
        path: the mask, in a format without loss.
        ids: dict from a `color_code` to a class id.
        height, width: of its image.

    Returns:
        uint8 [height, width].

    Raises:
        UsageError: it cannot be read, has another size, or a colour that is not listed.
    """
    try:
        pixels = read_image(path).astype(np.int64)
    except ImageError as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    hint = "; masks in JPEG do not keep their colours" if path.suffix.lower() in (".jpg", ".jpeg") else ""

    def describe(code):
        return f"the colour {code >> 16} {code >> 8 & 255} {code & 255}{hint}"

    return _translate(path, pixels @ (1 << 16, 1 << 8, 1), ids, describe, height, width)


def draw_ids(path: Path, ids: Mapping[int, int], height: int, width: int) -> np.ndarray:
    """Reads a mask of values, grey or with a palette, as class ids; as `draw_colors`, with ids of the values."""
    return _translate(path, read_label(path), ids, "the value {}".format, height, width)


def _translate(path, codes, ids, describe: Callable[[int], str], height, width):
    if codes.shape != (height, width):
        raise UsageError(f"{path} has {codes.shape[1]}x{codes.shape[0]} pixels, its image {width}x{height}")
    found, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
    unknown = [(int(count), int(code)) for code, count in zip(found, counts) if int(code) not in ids]
    if unknown:
        count, code = max(unknown)
        raise UsageError(
            f"{path} has {describe(code)} in {count} pixels, which stands for no class that is listed"
            + (f" (and {len(unknown) - 1} more such)" if len(unknown) > 1 else "")
        )
    return np.array([ids[int(code)] for code in found], np.uint8)[where].reshape(codes.shape)
