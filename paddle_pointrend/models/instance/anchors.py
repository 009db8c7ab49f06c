"""Anchors: the boxes that the proposals start from, at every cell of every level.

Source: detectron2/modeling/anchor_generator.py.
"""

from collections.abc import Sequence

import numpy as np
import paddle


def cell_anchors(size: float, ratios: Sequence[float]) -> np.ndarray:
    """Makes the anchors around (0, 0) of area size^2, one for each ratio of height to width: float32 [A, 4]."""
    widths = np.sqrt(size**2 / np.asarray(ratios, np.float64))
    heights = np.asarray(ratios) * widths
    return np.stack([-widths, -heights, widths, heights], axis=1).astype(np.float32) / 2


def grid_anchors(
    height: int | paddle.Tensor, width: int | paddle.Tensor, stride: int, anchors: np.ndarray
) -> paddle.Tensor:
    """Puts a cell's anchors [A, 4] at every cell of a map.

    Args:
        height, width: of the map; tensors where a graph is traced.
        stride: of the map.
        anchors: around (0, 0).

    Returns:
        [height * width * A, 4], ordered by row, column, anchor; the first cell's lie around (0, 0).
    """
    dtype = paddle.get_default_dtype()
    y, x = (paddle.arange(size).astype(dtype) * stride for size in (height, width))
    y, x = paddle.meshgrid(y, x)
    shifts = paddle.stack([x, y, x, y], axis=2).unsqueeze(2)
    return (shifts + paddle.to_tensor(anchors, dtype=dtype)).reshape([-1, 4])
