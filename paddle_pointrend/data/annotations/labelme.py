"""labelme's folders: a JSON file an image, with polygons and other shapes.

Source: github.com/wkentaro/labelme, labelme/_label_file.py (the file) and labelme/_utils/shape.py (how it is drawn: by
Pillow, later shapes over earlier ones).
"""

from __future__ import annotations

import base64
import binascii
import io
import itertools
import json
import math
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image, ImageDraw

from paddle_pointrend.data.annotations.types import Annotations, LabelledImage, class_ids
from paddle_pointrend.data.images import ImageError, find_images
from paddle_pointrend.data.json_files import read_json
from paddle_pointrend.errors import UsageError, one_line

_LINE_WIDTH, _POINT_RADIUS = 10, 5  # labelme's, when it draws a label map
_FARTHEST = 2**31  # pixels from the image's corner, for Pillow's whole numbers
_NUM_POINTS = {"circle": 2, "rectangle": 2, "line": 2, "point": 1, "mask": 2, "oriented_rectangle": 4}


def read_labelme(
    source: Path, *, images: Path | None = None, classes: Sequence[str] | None = None, ignored: Collection[str] = ()
) -> Annotations:
    """Reads the JSON files of a folder and of its subfolders, or one such file.

    Args:
        source: the folder or file.
        images: folder of the images, where they do not lie where the JSON files say.
        classes: names in the order of their ids; None for those that occur, in alphabetical order.
        ignored: names of what is not judged; `__ignore__` is one already.

    Raises:
        UsageError: no such file, one that is not labelme's, a name that `classes` lacks.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*.json"))
    names: dict[Path, set[str]] = {}
    for file in files:
        content = read_json(file)
        if isinstance(content, dict) and "shapes" in content:
            names[file] = {shape["label"] for shape in _shapes(content, file)}
    if not names:
        raise UsageError(f"{source}: there is no JSON file of labelme in it, one that has shapes")
    found = set().union(*names.values())
    listed, ids = class_ids(sorted(found) if classes is None else classes, ignored)
    unknown = sorted(found - set(ids))
    if unknown:
        raise UsageError(f"{source}: the labels {', '.join(unknown)} are not listed; list or ignore them")
    root = source if source.is_dir() else source.parent
    labelled, used = zip(*(_labelled(file, root, images, ids) for file in names))
    others = len(files) - len(names)
    alone = _count_others(images or source, used) if source.is_dir() else 0
    notes = [f"{others} JSON files without shapes were left out"] if others else []
    notes += [f"{alone} images without a JSON file were left out"] if alone else []
    return Annotations(listed, list(labelled), notes)


def draw_shape(height: int, width: int, shape_type: str | None, points: Sequence[Sequence[float]]) -> np.ndarray:
    """Draws a shape as labelme does: bool [height, width].

    Args:
        height, width: of the image.
        shape_type: labelme's name; None is a polygon, as in its old files.
        points: (x, y) in pixels.

    Raises:
        ValueError: too few points, or too many, or a shape that labelme does not know.
    """
    kind, points = shape_type or "polygon", [(float(x), float(y)) for x, y in points]
    expected = _NUM_POINTS.get(kind, len(points))
    if len(points) != expected or len(points) < {"polygon": 3, "linestrip": 2}.get(kind, 1):
        raise ValueError(f"a {kind} of {len(points)} points")
    mask = Image.new("1", (width, height))
    draw = ImageDraw.Draw(mask)
    if kind in ("polygon", "oriented_rectangle"):
        draw.polygon(points, fill=1, outline=1)
    elif kind == "rectangle":
        (left, right), (top, bottom) = (sorted(values) for values in zip(*points))
        draw.rectangle((left, top, right, bottom), fill=1, outline=1)
    elif kind in ("circle", "point"):
        radius = _POINT_RADIUS if kind == "point" else math.dist(*points)
        (x, y) = points[0]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=1, width=_LINE_WIDTH, joint="curve" if kind == "linestrip" else None)
    else:
        raise ValueError(f"a shape of type {kind}, which labelme does not draw")
    return np.asarray(mask)


def draw_mask(height: int, width: int, points: Sequence[Sequence[float]], mask: np.ndarray) -> np.ndarray:
    """Puts a shape of type mask, the bits of its bounding box, into the image: bool [height, width]."""
    left, top = (int(np.rint(value)) for value in points[0])
    rows, columns = np.nonzero(mask)
    rows, columns = rows + top, columns + left
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    drawn = np.zeros((height, width), bool)
    drawn[rows[inside], columns[inside]] = True
    return drawn


def _labelled(file, root, images, ids):
    """Makes the LabelledImage of a JSON file; with the image file, None if it is inside."""
    content = read_json(file)
    named = PureWindowsPath(str(content.get("imagePath") or file.stem))  # it takes both slashes
    places = [(images or file.parent) / Path(*named.parts), (images or file.parent) / named.name]
    image = next((place for place in places if place.is_file()), None)
    name = file.relative_to(root).with_suffix((image or named).suffix or ".png")
    if image is not None:
        read = image.read_bytes
    elif content.get("imageData"):
        read = partial(_embedded_image, file)
    else:
        raise UsageError(f"{file}: its image {named} is neither there nor inside it; --images names its folder")
    return LabelledImage(name.as_posix(), file, read, partial(_draw, file, ids)), image


def _count_others(folder, used):
    try:
        found = find_images(folder)[0]
    except ImageError:  # all images are elsewhere, or inside JSON files
        return 0
    used = {image.resolve() for image in used if image}
    return sum(Path(path).resolve() not in used for path in found)


def _draw(file, ids, height, width):
    content = read_json(file)
    size = tuple(content.get(key) or side for key, side in (("imageHeight", height), ("imageWidth", width)))
    if size != (height, width):
        raise UsageError(f"{file} is drawn on {size[1]}x{size[0]} pixels, its image has {width}x{height}")
    label = np.zeros((height, width), np.uint8)
    for number, shape in enumerate(_shapes(content, file), start=1):
        try:
            label[shape_mask(height, width, shape)] = ids[shape["label"]]
        except (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError) as error:
            raise UsageError(f"{file}: shape {number}, {shape['label']}: {one_line(error)}") from error
    return label


def shape_mask(height: int, width: int, shape: dict) -> np.ndarray:
    """Draws a shape of a labelme file, as JSON has it: bool [height, width]. ValueError if it cannot be drawn."""
    if shape.get("shape_type") != "mask":
        return draw_shape(height, width, shape.get("shape_type"), shape["points"])
    if not shape.get("mask"):
        raise ValueError("a mask without its pixels")
    with Image.open(io.BytesIO(_decode(shape["mask"]))) as bits:
        return draw_mask(height, width, shape["points"], np.asarray(bits.convert("L")) > 0)


def _shapes(content, file):
    shapes = content["shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise UsageError(f"{file}: shapes is not a list of objects, as labelme writes it")
    for shape in shapes:
        points = shape.get("points")
        numbers = itertools.chain.from_iterable(points) if _are_pairs(points) else [None]
        named = isinstance(shape.get("label"), str) and shape["label"].strip()
        if not named or not all(_is_near(number) for number in numbers):
            raise UsageError(f"{file}: {json.dumps(shape)[:80]} lacks a label or its points are no [x, y] pairs")
        shape["label"] = named
    return shapes


def _are_pairs(points):
    return isinstance(points, list) and bool(points) and all(isinstance(p, list) and len(p) == 2 for p in points)


def _is_near(number):
    return isinstance(number, (int, float)) and abs(number) < _FARTHEST  # NaN is not


def _embedded_image(file):
    try:
        return _decode(read_json(file)["imageData"])
    except ValueError as error:
        raise UsageError(f"{file}: its imageData is no base64: {one_line(error)}") from error


def _decode(text):
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(one_line(error)) from error
