"""Colours for classes that come without any."""

import numpy as np


def default_palette(num_classes: int) -> np.ndarray:
    """Makes distinct colours in PASCAL VOC's order: class i's bits, three at a time, from each channel's top bit down.

    The first colour is VOC's black, which `colorize` keeps for ignored pixels; so this palette starts with VOC's
    second. Above 255 classes the colours repeat.

    Returns:
        uint8 [num_classes, 3].

    Raises:
        ValueError: num_classes below 1.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}, expected at least 1")
    index = np.arange(num_classes) % 255 + 1
    palette = np.zeros((num_classes, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * shift + channel)) & 1) << (7 - shift)).astype(np.uint8)
    return palette
