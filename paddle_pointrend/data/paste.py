"""Masks of boxes as masks of the image. NumPy; knows no network.

D: detections, S: side of the masks.

Source: detectron2/layers/mask_ops.py.
"""

from collections.abc import Sequence

import numpy as np


def paste_masks(masks: np.ndarray, boxes: np.ndarray, size: Sequence[int], threshold: float = 0.5) -> np.ndarray:
    """Puts masks into an image: each is read, bilinear, at the centres of the pixels inside its box.

    Args:
        masks: float [D, S, S], probabilities over the boxes; tensors or arrays.
        boxes: float [D, 4], x1 y1 x2 y2 in the image's pixels; they may go beyond it.
        size: (height, width) of the image.
        threshold: from this probability on a pixel belongs to the object.

    Returns:
        bool [D, height, width]; nothing where a box has no area.
    """
    masks, boxes = np.asarray(masks, np.float32), np.asarray(boxes, np.float32).reshape(-1, 4)
    height, width = size
    pasted = np.zeros([len(boxes), height, width], bool)
    for mask, box, target in zip(masks, boxes, pasted):
        if not (box[2] > box[0] and box[3] > box[1]):
            continue
        top, rows, row_shares = _positions(box[1], box[3], height, mask.shape[0])
        left, columns, column_shares = _positions(box[0], box[2], width, mask.shape[1])
        padded = np.pad(mask, 1)  # outside the mask lie zeros
        lines = _blend(padded, rows, row_shares[:, None], axis=0)
        values = _blend(lines, columns, column_shares, axis=1)
        target[top : top + len(rows), left : left + len(columns)] = values >= threshold
    return pasted


def _positions(start, end, length, side):
    """Where the pixels of an axis that a box [start, end] touches lie on its padded mask.

    Returns:
        first: the first pixel.
        low: int [n], the place before each pixel's centre, in [0, side].
        shares: float32 [n], how far it is on the way to the next place.
    """
    first, last = max(int(np.floor(start)) - 1, 0), min(int(np.ceil(end)) + 1, length)
    centres = np.arange(first, max(last, first), dtype=np.float32) + np.float32(0.5)
    grid = (centres - start) / (end - start) * 2 - 1
    places = ((grid + 1) * side - 1) / 2 + 1  # rounds as grid_sample does; 1 for the padding
    low = np.clip(np.floor(places), 0, side).astype(np.int64)
    return first, low, np.clip(places - low, 0, 1).astype(np.float32)


def _blend(values, low, shares, axis):
    below, above = values.take(low, axis), values.take(low + 1, axis)
    return below * (1 - shares) + above * shares
