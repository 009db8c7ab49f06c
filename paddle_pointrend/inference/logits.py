"""Logits of images under InferenceOptions, and what is done with them afterwards.

Equal to paddleseg.core.infer of PaddleSeg 2.8.0 up to rounding: its inference, aug_inference and reverse_transform.

N: images of one size; H, W: their height and width; C: channels; K: classes. `images` are network inputs, transformed,
float32 [N, H, W, C]; `logits` float32 [N, K, H, W].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from paddle_pointrend.inference.options import InferenceOptions
from paddle_pointrend.inference.sliding_window import OutputError, slide_whole

MOST_CLASSES = 256  # in a label map of 8 bits
_ROWS = 32  # of logits that stay in a processor's cache while classes are compared


def predict_logits(
    run: Callable[[np.ndarray], np.ndarray], images: np.ndarray, options: InferenceOptions, *, batch_size: int = 1
) -> np.ndarray:
    """Predicts the logits of images of one size.

    Augmentation averages logits, as PaddleSeg does: the image at every scale, in every flip, each time in the sliding
    window where there is one.

    Args:
        run: images [N, h, w, C] -> logits [N, K, h, w]; the array is the caller's own, so it may be written into.
        images: [N, H, W, C].
        options: augmentation and window.
        batch_size: windows that go through the network together.

    Returns:
        Logits at the images' size; without augmentation and window as `run` makes them, of whatever size.

    Raises:
        OutputError: the network's output is not of its window's size.
    """
    if not options.augments:
        return _predict_once(run, images, options, batch_size)
    flips = [(x, y) for x in {False, options.flip_horizontal} for y in {False, options.flip_vertical}]
    passes = _predict_augmented(run, images, options, flips, batch_size)
    total = next(passes)
    for logits in passes:
        total += logits
    total /= len(options.scales) * len(flips)
    return total


def resize_maps(maps: np.ndarray, size: Sequence[int], mode: str = "bilinear") -> np.ndarray:
    """Resizes maps [N, K, h, w] to (height, width) as Paddle's interpolate does; the same maps if they have that size.

    mode "bilinear" goes between pixel centres, "nearest" is for labels.
    """
    if maps.shape[2:] == tuple(size):
        return maps
    if mode == "nearest":
        rows, columns = (_nearest(before, after) for before, after in zip(maps.shape[2:], size))
        return maps[:, :, rows[:, None], columns]
    resized = np.empty((*maps.shape[:2], *size), maps.dtype)
    for source, target in zip(maps.reshape(-1, *maps.shape[2:]), resized.reshape(-1, *size)):
        cv2.resize(source, (size[1], size[0]), dst=target)
    return resized


def undo_transforms(
    maps: np.ndarray, trans_info: Sequence, input_size: Sequence[int], mode: str = "bilinear"
) -> np.ndarray:
    """Brings maps [N, K, h, w] back to the size that images had before their transforms.

    Args:
        maps: logits or, with mode "nearest", labels; of the network's input, at its size or another.
        trans_info: what PaddleSeg's transforms noted: ("resize" or "padding", (height, width) before it) in their
            order, or a DataLoader's batch of one of them.
        input_size: (height, width) of the network's input.
        mode: as of `resize_maps`.
    """
    for kind, size in reversed(trans_info):
        kind, size = kind if isinstance(kind, str) else kind[0], tuple(int(side) for side in size)
        if kind == "resize":
            maps = resize_maps(maps, size, mode)
        elif kind == "padding":
            maps = resize_maps(maps, input_size, mode)[:, :, : size[0], : size[1]]
        else:
            raise ValueError(f"a transform noted {kind!r} in trans_info, expected 'resize' or 'padding'")
        input_size = size
    return maps


def label_maps(logits: np.ndarray) -> np.ndarray:
    """Takes the argmax over the classes of logits [N, K, H, W], of equal ones the first: [N, H, W].

    uint8, or int32 of more than MOST_CLASSES classes. NumPy's argmax over an axis that is not the last is slower.
    """
    count, classes, height, width = logits.shape
    labels = np.zeros((count, height, width), np.uint8 if classes <= MOST_CLASSES else np.int32)
    for i in range(count):
        for y in range(0, height, _ROWS):
            block, chosen = logits[i, :, y : y + _ROWS], labels[i, y : y + _ROWS]
            largest = block[0].copy()
            for label in range(1, classes):
                np.putmask(chosen, block[label] > largest, label)
                np.maximum(largest, block[label], out=largest)
    return labels


def check_class_count(num_classes: int) -> None:
    """Raises OutputError if labels of so many classes do not fit into 8 bits."""
    if num_classes > MOST_CLASSES:
        raise OutputError(f"the network has {num_classes} classes, label maps hold at most {MOST_CLASSES}")


def _predict_augmented(run, images, options, flips, batch_size):
    """Yields the logits at every scale and in every flip, as of the image as it is."""
    size = images.shape[1:3]
    for scale in options.scales:
        scaled = _resize_images(images, [max(1, int(side * scale + 0.5)) for side in size])
        for flip in flips:
            logits = _predict_once(run, _flip(scaled, flip, rows=1), options, batch_size)
            yield resize_maps(_flip(logits, flip, rows=2), size)


def _predict_once(run, images, options, batch_size):
    if not options.slides_over(*images.shape[1:3]):
        return run(images)
    slid = [slide_whole(run, image, *options.layout(), batch_size=batch_size)[None] for image in images]
    return slid[0] if len(slid) == 1 else np.concatenate(slid)


def _resize_images(images, size):
    if list(images.shape[1:3]) == size:
        return images
    resized = [cv2.resize(image, (size[1], size[0])) for image in images]
    return np.stack(resized).reshape(len(images), *size, images.shape[3])  # OpenCV drops an axis of one channel


def _nearest(before, after):
    """Where a side of `after` pixels reads one of `before`, in Paddle's precision: labels at edges depend on it."""
    return np.minimum((np.arange(after, dtype=np.float32) * np.float32(before / after)).astype(int), before - 1)


def _flip(maps, flip, rows):
    """Flips maps left to right and upside down, as the two flags say; rows is the axis of their rows."""
    return np.flip(maps, [axis for axis, flag in ((rows + 1, flip[0]), (rows, flip[1])) if flag])
