"""Reads maps at points between their pixels.

Shape letters used below:
    N: images, C: channels, H and W: height and width of a map, P: points of one image.

Coordinates are (x, y) in [0, 1] x [0, 1] over the whole map, whatever its size: the centre of the pixel in
column i of W columns has x = (i + 0.5) / W. (0, 0) is the upper left corner of the upper left pixel.

Source: the authors' detectron2 projects/PointRend/point_rend/point_features.py.
"""

import paddle
import paddle.nn.functional as F

_FLOAT_DTYPES = (paddle.float16, paddle.bfloat16, paddle.float32, paddle.float64)


def point_sample(
    features: paddle.Tensor, point_coords: paddle.Tensor, *, mode: str = "bilinear", align_corners: bool = False
) -> paddle.Tensor:
    """Reads a map at points between its pixels.

    Args:
        features: float tensor [N, C, H, W].
        point_coords: float tensor [N, P, 2], (x, y) in [0, 1]; what lies outside the map reads as zero.
        mode: "bilinear" or "nearest".
        align_corners: as in grid_sample; False fits the coordinate frame of this module.

    Returns:
        [N, C, P], the dtype of features.

    Raises:
        ValueError: wrong ranks, unequal batch sizes, an unknown mode.
        TypeError: features that are not floating point.
    """
    if features.ndim != 4:
        raise ValueError(f"features must be [N, C, H, W], got shape {list(features.shape)}")
    if point_coords.ndim != 3 or point_coords.shape[2] != 2:
        raise ValueError(f"point_coords must be [N, P, 2], got shape {list(point_coords.shape)}")
    _check_same_batch("features", features, "point_coords", point_coords)
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode must be 'bilinear' or 'nearest', got {mode!r}")
    if features.dtype not in _FLOAT_DTYPES:
        raise TypeError(
            f"features must be floating point, got {features.dtype}; cast them first, e.g. .astype('float32')"
        )
    if is_empty(point_coords):
        return paddle.zeros([features.shape[0], features.shape[1], point_coords.shape[1]], dtype=features.dtype)
    dtype = features.dtype
    if dtype in (paddle.float16, paddle.bfloat16):
        # Half precision is too coarse for coordinates: bfloat16 has steps of half a pixel on 256 pixels.
        features = features.astype("float32")
    grid = (2.0 * point_coords - 1.0).unsqueeze(2).astype(features.dtype)
    sampled = F.grid_sample(features, grid, mode=mode, padding_mode="zeros", align_corners=align_corners)
    return sampled.squeeze(3).astype(dtype)


def bilinear_neighbours(
    point_coords: paddle.Tensor, height: int, width: int
) -> tuple[list[paddle.Tensor], list[paddle.Tensor]]:
    """Finds the four pixels around each point, and their weights in bilinear interpolation.

    Args:
        point_coords: [N, P, 2].
        height, width: of the map.

    Returns:
        indices: four int64 [N, P], y * W + x. Outside the map lie zeros: there the weight is 0, and the index any
            that exists.
        weights: four [N, P], the dtype of point_coords.
    """
    columns, rows = _two_neighbours(point_coords[:, :, 0], width), _two_neighbours(point_coords[:, :, 1], height)
    pairs = [(row, column) for row in rows for column in columns]
    indices = [y * width + x for (y, _), (x, _) in pairs]
    weights = [weight_y * weight_x for (_, weight_y), (_, weight_x) in pairs]
    return indices, weights


def _two_neighbours(positions, size):
    """((index, weight), (index, weight)) of positions in [0, 1] along an axis of `size` pixels."""
    pixel = ((2.0 * positions - 1.0 + 1.0) * size - 1.0) / 2.0  # rounds as grid_sample does
    low = pixel.floor()
    part = pixel - low
    neighbours = []
    for index, weight in ((low.astype("int64"), 1.0 - part), (low.astype("int64") + 1, part)):
        is_inside = paddle.logical_and(index >= 0, index < size)
        neighbours.append((index * is_inside.astype("int64"), weight * is_inside.astype(weight.dtype)))
    return neighbours


@paddle.jit.not_to_static  # there, a size not known yet stays -1 and passes
def is_empty(tensor: paddle.Tensor) -> bool:
    """Tells whether a tensor holds no element."""
    return 0 in tensor.shape


@paddle.jit.not_to_static
def _check_same_batch(name, tensor, other_name, other):
    sizes = tensor.shape[0], other.shape[0]
    if -1 not in sizes and sizes[0] != sizes[1]:
        raise ValueError(f"{name} and {other_name} must hold the same number of images, got {sizes[0]} and {sizes[1]}")
