"""Predicts in a sliding window, images that do not fit in memory too. NumPy alone.

H, W: the image's height and width; h, w: a window's; K: classes.
Windows lie as PaddleSeg's paddleseg.core.infer.slide_inference lays them, and logits are averaged where they overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np


class OutputError(ValueError):
    """A network's output that is no prediction of its input's pixels."""


def window_starts(size: int, window: int, stride: int) -> list[int]:
    """Lists where windows begin along one side: every stride, the last one shifted back inside.

    Args:
        size: the image's side.
        window: the window's side; one that is larger than the image is cut to it.
        stride: at most window.

    Returns:
        Strictly rising from 0.
    """
    if not 1 <= stride <= window:
        raise ValueError(f"the stride is {stride}, expected 1 to the window's {window}: a larger one leaves gaps")
    count = -(-max(size - window, 0) // stride) + 1
    return [max(min(i * stride + window, size) - window, 0) for i in range(count)]


def slide(
    predict: Callable[[np.ndarray], np.ndarray],
    read_rows: Callable[[int, int], np.ndarray],
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    *,
    batch_size: int = 1,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Predicts an image of any size in windows; what is finished is handed out at once.

    Beyond one row of windows of the image, memory holds the logits of one batch of windows, and sums of logits only
    where a later window still reaches: the overlap of two rows of windows, over the image's width.

    Args:
        predict: pixels of equal windows [N, h, w, C] -> logits [N, K, h, w].
        read_rows: (y1, y2) -> the image's rows y1 to y2, [y2 - y1, W, C]. Every row is asked for once, in order.
        size: (height, width) of the image.
        window: (height, width).
        stride: (height, width), at most the window's.
        batch_size: windows that go through predict together.

    Yields:
        (y, x, logits): logits [K, rows, columns] of the rectangle whose top left pixel is (y, x). They tile the
        image and come row by row of windows, each row from left to right.
    """
    (height, width), tops, lefts = _layout(size, window, stride)
    row_ends, column_ends = [*tops[1:], size[0]], [*lefts[1:], size[1]]  # up to here the next window does not reach
    windows_above, windows_beside = _count_windows(tops, height, size[0]), _count_windows(lefts, width, size[1])
    overlaps = [0, *(top + height - row_end for top, row_end in zip(tops, row_ends[:-1]))]
    pixels, sums_above = read_rows(0, height), None
    for top, row_end, overlap in zip(tops, row_ends, overlaps):
        if top > 0:
            pixels = np.concatenate([pixels[height - overlap :], read_rows(top + overlap, top + height)])
        finished = row_end - top
        for x, sums in _sum_along_row(_predict_row(predict, pixels, lefts, width, batch_size), column_ends):
            columns = slice(x, x + sums.shape[2])
            if sums_above is None:
                sums_above = np.zeros((len(sums), max(overlaps), size[1]), np.float32)
            sums[:, :overlap] += sums_above[:, :overlap, columns]
            sums_above[:, : height - finished, columns] = sums[:, finished:]
            yield top, x, sums[:, :finished] / (windows_above[top:row_end, None] * windows_beside[columns])


def slide_whole(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    window: Sequence[int],
    stride: Sequence[int],
    *,
    batch_size: int = 1,
) -> np.ndarray:
    """Predicts the logits [K, H, W] of an image [H, W, C] in memory; arguments as of `slide`."""
    logits = np.empty((0, *image.shape[:2]), np.float32)
    blocks = slide(predict, lambda y1, y2: image[y1:y2], image.shape[:2], window, stride, batch_size=batch_size)
    for y, x, block in blocks:
        if not len(logits):
            logits = np.empty((len(block), *image.shape[:2]), np.float32)
        logits[:, y : y + block.shape[1], x : x + block.shape[2]] = block
    return logits


def _layout(size, window, stride):
    """(height and width of every window, their tops, their lefts)."""
    sides = [min(size[i], window[i]) for i in (0, 1)]
    return sides, *(window_starts(size[i], window[i], stride[i]) for i in (0, 1))


def _count_windows(starts, side, size):
    """How many windows lie over each place along one side of the image, float32 [size]."""
    counts = np.zeros(size, np.float32)
    for start in starts:
        counts[start : start + side] += 1
    return counts


def _predict_row(predict, pixels, lefts, width, batch_size):
    """(left, logits [K, h, w]) of each window of a row of windows, whose pixels are [h, W, C]."""
    for i in range(0, len(lefts), batch_size):
        batch = lefts[i : i + batch_size]
        windows = np.stack([pixels[:, left : left + width] for left in batch])
        logits = predict(windows)
        if logits.ndim != 4 or logits.shape[2:] != windows.shape[1:3]:
            raise OutputError(
                f"the network made {list(logits.shape)} of windows {list(windows.shape)}, expected logits [N, K, h, w]"
            )
        yield from zip(batch, logits)


def _sum_along_row(windows, ends):
    """(x, sums [K, h, columns]) of the columns that no later window of the row reaches."""
    tail = None
    for (left, logits), end in zip(windows, ends):
        sums = np.array(logits, np.float32)
        if tail is not None:
            sums[:, :, : tail.shape[2]] += tail
        yield left, sums[:, :, : end - left]
        tail = sums[:, :, end - left :]
