"""Pictures of instances: masks over the image, outlines, boxes, and what each is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from paddle_pointrend.evaluation.fonts import find_font

_SHARE = 0.45  # of the colour over an object
_WIDEST_LABEL = 1.5  # in widths of its box: where many small objects stand together labels would cover them
_SMALLEST_FONT = 13  # pixels, of what is not ASCII: Chinese characters are not legible in fewer


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[str],
    colors: np.ndarray,
) -> np.ndarray:
    """Draws instances over an image, the last first, so that the best detections lie on top.

    Args:
        image: RGB uint8 [H, W, 3].
        boxes: floats [D, 4], x1 y1 x2 y2 in pixels.
        masks: bool [D, H, W], or a sequence of D bool [H, W], of which one is held at a time.
        labels: D texts, written at the boxes' tops, as `instance_labels` makes them. One much wider than its box is
            left out, and one with letters that no font of the system has, and "".
        colors: [D, 3] RGB, as `instance_colors` makes them.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        ValueError: other numbers of boxes, masks, labels and colours, or masks of another size.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"picture is {image.dtype} {image.shape}, expected uint8 [H, W, 3] (RGB)")
    counts = {len(boxes), len(masks), len(labels), len(colors)}
    if len(counts) > 1:
        raise ValueError(f"there are {sorted(counts)} boxes, masks, labels and colours, expected one number of each")
    picture = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 600))
    for i in reversed(range(len(boxes))):
        box, mask, color = boxes[i], masks[i], colors[i]
        if mask.shape != image.shape[:2]:
            raise ValueError(f"a mask is of {mask.shape}, the image of {image.shape[:2]}")
        tint = np.asarray(color, np.float32)
        picture[mask] = ((1 - _SHARE) * picture[mask] + _SHARE * tint).astype(np.uint8)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, tint.tolist(), thickness)
        left, top, right, bottom = np.round(box).astype(int).tolist()
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), tint.tolist(), thickness)
    for box, label, color in reversed(list(zip(boxes, labels, colors))):
        _write_label(picture, label, box, color)
    return picture


def instance_colors(count: int) -> np.ndarray:
    """Makes colours that differ from one instance to the next: hues a golden section apart, uint8 [count, 3] in RGB."""
    hue = (np.arange(count) * 0.618034 % 1 * 180).astype(np.uint8)
    saturation = np.array([255, 190, 130], np.uint8)[np.arange(count) % 3]
    hsv = np.stack([hue, saturation, np.full(count, 255, np.uint8)], axis=-1)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] if count else np.zeros((0, 3), np.uint8)


def instance_labels(classes: Iterable[int], scores: Iterable[float], names: Sequence[str]) -> list[str]:
    """Makes the text at each box, "dog 0.97"; a name with letters that no font of the system has is "class 1"."""
    shown = [name if name.isascii() or find_font(name) else f"class {i}" for i, name in enumerate(map(str, names))]
    return [f"{shown[i]} {score:.2f}" for i, score in zip(classes, scores)]


def _write_label(picture, label, box, color):
    """Writes a label on a bar of the instance's colour above its box, or inside where the picture ends there."""
    ink = _ink(label, max(0.3, max(picture.shape[:2]) / 2200)) if label else None
    if ink is None or ink.shape[1] - 2 > _WIDEST_LABEL * (box[2] - box[0]):
        return
    left = int(np.clip(round(box[0]), 0, max(picture.shape[1] - ink.shape[1], 0)))
    top = max(round(float(box[1])) + 1 - ink.shape[0], 1)
    bar = picture[top : top + ink.shape[0], left : left + ink.shape[1]]
    ink = ink[: bar.shape[0], : bar.shape[1], None]
    color = np.asarray(color, np.float32)
    ink_color = 0 if color @ (0.299, 0.587, 0.114) > 110 else 255
    bar[:] = np.rint(color + (ink_color - color) * ink)


def _ink(text, size):
    """Draws a text, of `size` in OpenCV's measure: shares of ink, float32 [height, width]; None without a font."""
    if text.isascii():
        (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        canvas = np.zeros((height + below + 1, width + 2), np.uint8)
        cv2.putText(canvas, text, (1, height + 1), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
        return canvas / np.float32(255)
    file = find_font(text)
    if file is None:
        return None
    font = ImageFont.truetype(file, max(_SMALLEST_FONT, round(30 * size)))  # capitals as high as OpenCV's
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (right - left + 4, bottom - top + 4))
    ImageDraw.Draw(image).text((2 - left, 2 - top), text, 255, font=font)
    return np.asarray(image) / np.float32(255)
