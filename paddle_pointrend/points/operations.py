"""Point operations: pure functions of tensors.

Shape letters used below:
    N: images, C: channels, K: classes, H and W: height and width of a map, P: points of one image.

Coordinates are (x, y) in [0, 1] x [0, 1] over the whole map, whatever its size: the centre of the pixel in
column i of W columns has x = (i + 0.5) / W. (0, 0) is the upper left corner of the upper left pixel.

Source: Kirillov et al., "PointRend: Image Segmentation as Rendering" (CVPR 2020), sections 3.1 to 3.3; the
authors' detectron2 projects/PointRend/point_rend/point_features.py.
"""

import contextlib
import functools
import math
from numbers import Integral

import paddle
import paddle.nn.functional as F

from paddle_pointrend.points import eager_cpu as cpu_maps

_FLOAT_DTYPES = (paddle.float16, paddle.bfloat16, paddle.float32, paddle.float64)
_SCATTER_DTYPES = (*_FLOAT_DTYPES, paddle.int32, paddle.int64)
_INDEX_DTYPES = (paddle.int32, paddle.int64)


def point_sample(features, point_coords, *, mode="bilinear", align_corners=False):
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
    if _is_empty(point_coords):
        return paddle.zeros([features.shape[0], features.shape[1], point_coords.shape[1]], dtype=features.dtype)
    dtype = features.dtype
    if dtype in (paddle.float16, paddle.bfloat16):
        # Half precision is too coarse for coordinates: bfloat16 has steps of half a pixel on 256 pixels.
        features = features.astype("float32")
    grid = (2.0 * point_coords - 1.0).unsqueeze(2).astype(features.dtype)
    sampled = F.grid_sample(features, grid, mode=mode, padding_mode="zeros", align_corners=align_corners)
    return sampled.squeeze(3).astype(dtype)


_always_grid_sample = False


@contextlib.contextmanager
def grid_sample_everywhere():
    """Inside, point_reader traces grid_sample: for graphs that others than Paddle execute."""
    global _always_grid_sample
    before, _always_grid_sample = _always_grid_sample, True
    try:
        yield
    finally:
        _always_grid_sample = before


def point_reader(features):
    """A function point_coords [N, P, 2] -> [N, C, P], what point_sample gives; made once for several steps.

    Paddle's grid_sample is slow on CPU. Where nothing needs a gradient the four pixels around each point are read from
    the map as it is; else they are gathered from a copy of it whose channels lie together, in a sixth of the time.

    Args:
        features: float tensor [N, C, H, W].
    """
    if _always_grid_sample or features.dtype != paddle.float32 or not paddle.get_device().startswith("cpu"):
        return functools.partial(point_sample, features)
    if cpu_maps.suits(features):
        return functools.partial(_blend_pixels_of_maps, features)
    return functools.partial(_blend_pixels, _pixels(features), features.shape)


def _blend_pixels_of_maps(features, point_coords):
    """point_sample on CPU of maps [N, C, H, W] that need no gradient."""
    if not cpu_maps.suits(point_coords):
        return _blend_pixels(_pixels(features), features.shape, point_coords)
    indices, weights = _pixels_around(point_coords, *features.shape[2:])
    return cpu_maps.blend(features, paddle.stack(indices, axis=1), paddle.stack(weights, axis=1))


def _pixels(maps):
    """Maps [N, C, H, W] as [N * H * W, C]."""
    return maps.flatten(2).transpose([0, 2, 1]).flatten(0, 1)


def _blend_pixels(pixels, shape, point_coords):
    """point_sample of pixels [N * H * W, C], the map of `shape` [N, C, H, W] with channels last."""
    num_images, num_channels, height, width = shape
    indices, weights = _pixels_around(point_coords, height, width)
    first = _first_pixels(num_images, height * width)
    indices = paddle.stack([first + index for index in indices], axis=2)
    neighbours = paddle.gather(pixels, indices.flatten()).reshape([-1, 4, num_channels])
    blended = paddle.bmm(paddle.stack(weights, axis=2).reshape([-1, 1, 4]), neighbours)
    return blended.reshape([num_images, -1, num_channels]).transpose([0, 2, 1])


def _pixels_around(point_coords, height, width):
    """The four pixels around points [N, P, 2]: indices int64 [N, P], y * W + x, and their weights, a list of each."""
    columns, rows = _neighbours(point_coords[:, :, 0], width), _neighbours(point_coords[:, :, 1], height)
    pairs = [(row, column) for row in rows for column in columns]
    indices = [y * width + x for (y, _), (x, _) in pairs]
    weights = [weight_y * weight_x for (_, weight_y), (_, weight_x) in pairs]
    return indices, weights


def _first_pixels(num_images, num_pixels):
    """int64 [N, 1]: where each image begins in a flattened batch."""
    return paddle.arange(num_images, dtype="int64").reshape([-1, 1]) * num_pixels


def _neighbours(places, size):
    """Of places along an axis of `size` pixels: ((index, weight), (index, weight)), the two pixels around each.

    Outside the map lie zeros: there the weight is 0, and the index any that exists.
    """
    position = ((2.0 * places - 1.0 + 1.0) * size - 1.0) / 2.0  # rounds as grid_sample does
    low = position.floor()
    part = position - low
    neighbours = []
    for index, weight in ((low.astype("int64"), 1.0 - part), (low.astype("int64") + 1, part)):
        is_inside = paddle.logical_and(index >= 0, index < size)
        neighbours.append((index * is_inside.astype("int64"), weight * is_inside.astype(weight.dtype)))
    return neighbours


def calculate_uncertainty(logits):
    """How unsure a prediction is: its second-best minus its best logit (section 3.1 of the paper).

    The two best are found by a tournament of maxima and minima, which is exact under ties.

    Args:
        logits: float tensor [N, K, ...].

    Returns:
        [N, 1, ...], <= 0, the dtype of logits; 0 is most uncertain. For one class (a sigmoid's logit) -|logit|.

    Raises:
        ValueError: fewer than two axes, or no class.
    """
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must be [N, K, ...] with K >= 1, got shape {list(logits.shape)}")
    if logits.shape[1] == 1:
        return -logits.abs()
    if not paddle.in_dynamic_mode():
        return _uncertainty_in_graph(logits)
    if cpu_maps.suits(logits):
        return cpu_maps.second_minus_best(logits)
    best, second = _two_best(split_classes(logits))
    return second - best


def _uncertainty_in_graph(logits):
    """calculate_uncertainty for the runtimes of exported graphs, where a maximum over an axis is one fast pass.

    The classes are laid out in a grid. The two best ones stand in different rows or in different columns (or both), so
    that the second-best is the second-best of the rows' maxima or of the columns'.
    """
    num_classes = logits.shape[1]
    rows, columns = grid_of_classes(num_classes)
    if rows * columns != num_classes:
        best, second = _two_best(split_classes(logits))
        return second - best
    grid = logits.reshape([logits.shape[0], rows, columns, -1])
    best, second = _two_best(split_classes(grid.max(axis=2)))
    if columns > 1:
        second = paddle.maximum(second, _two_best(split_classes(grid.max(axis=1)))[1])
    return (second - best).reshape([logits.shape[0], 1, *paddle.shape(logits)[2:]])


def grid_of_classes(num_classes):
    """(rows, columns) of the smallest grid, nearly square, with a place for each class."""
    columns = math.isqrt(num_classes)
    return -(-num_classes // columns), columns


def split_classes(logits):
    """Logits [N, K, ...] as a list of K tensors [N, 1, ...]."""
    return paddle.split(logits, logits.shape[1], axis=1)


def _two_best(class_logits):
    """(the best, the second-best), the latter None for one class."""
    if len(class_logits) == 1:
        return class_logits[0], None
    half = len(class_logits) // 2
    (left, left_second), (right, right_second) = _two_best(class_logits[:half]), _two_best(class_logits[half:])
    second = paddle.minimum(left, right)
    for runner_up in (left_second, right_second):
        if runner_up is not None:
            second = paddle.maximum(second, runner_up)
    return paddle.maximum(left, right), second


@paddle.no_grad()
def sample_training_points(logits, num_points, oversample_ratio=3.0, importance_sample_ratio=0.75):
    """Chooses the points to train on: mostly uncertain ones, the rest uniform (section 3.1, "Training").

    floor(k * num_points) candidates are drawn uniformly, of these the floor(beta * num_points) most uncertain
    are kept, and the remaining points are drawn uniformly anew. Uncertainty is computed on the logits sampled
    at the candidates: sampling a map of uncertainties instead would call a point between two sure but
    different pixels sure, though the logits interpolated there are nearly equal.

    Args:
        logits: float tensor [N, K, H, W], coarse.
        num_points: P >= 1.
        oversample_ratio: k >= 1.
        importance_sample_ratio: beta in [0, 1].

    Returns:
        float32 [N, P, 2], (x, y) in [0, 1), without gradient; random numbers of paddle.seed's generator.

    Raises:
        ValueError: an argument out of its range.
    """
    check_sampling_options(num_points, oversample_ratio, importance_sample_ratio)
    num_images = logits.shape[0]
    num_uncertain = int(importance_sample_ratio * num_points)
    num_uniform = num_points - num_uncertain
    chosen = []
    if num_uncertain:
        candidates = paddle.rand([num_images, int(oversample_ratio * num_points), 2], dtype="float32")
        uncertainty = calculate_uncertainty(point_sample(logits, candidates)).squeeze(1)
        indices = paddle.topk(uncertainty, num_uncertain, axis=1)[1]
        chosen.append(paddle.take_along_axis(candidates, indices.unsqueeze(2), axis=1))
    if num_uniform:
        chosen.append(paddle.rand([num_images, num_uniform, 2], dtype="float32"))
    return paddle.concat(chosen, axis=1)


def check_sampling_options(num_points, oversample_ratio, importance_sample_ratio):
    """Raises ValueError for options of sample_training_points that are out of their range."""
    _check_num_points(num_points)
    if oversample_ratio < 1:
        raise ValueError(f"oversample_ratio must be at least 1, got {oversample_ratio}")
    if not 0 <= importance_sample_ratio <= 1:
        raise ValueError(f"importance_sample_ratio must lie in [0, 1], got {importance_sample_ratio}")


def _check_num_points(num_points):
    if not isinstance(num_points, Integral) or num_points < 1:
        raise ValueError(f"num_points must be a whole number of at least 1, got {num_points!r}")


def select_uncertain_points(uncertainty, num_points, *, sorted=True):
    """The most uncertain pixels of a map, and their centres (section 3.1, "Inference").

    Args:
        uncertainty: float tensor [N, 1, H, W].
        num_points: points to take of each image; all H * W are taken where the map has fewer.
        sorted: False if the order does not matter, which takes a little less time.

    Returns:
        indices: int64 [N, P], y * W + x, most uncertain first if sorted; exact for every H * W below 2^63.
        coords: float32 [N, P, 2], the pixels' centres as (x, y) in [0, 1].

    Raises:
        ValueError: wrong rank or number of points.
    """
    if uncertainty.ndim != 4 or uncertainty.shape[1] != 1:
        raise ValueError(f"uncertainty must be [N, 1, H, W], got shape {list(uncertainty.shape)}")
    _check_num_points(num_points)
    height, width = uncertainty.shape[2], uncertainty.shape[3]
    count = _at_most(num_points, height * width)
    indices = paddle.topk(uncertainty.flatten(1), count, axis=1, sorted=sorted)[1]
    return indices, _pixel_centres(indices, height, width)


def _pixel_centres(indices, height, width):
    """float32 [N, P, 2] of indices int64 [N, P]."""
    # Integers until here: float32 has no odd numbers above 2^24, which a 4096 x 8192 map exceeds.
    x = (indices % width).astype("float32") + 0.5
    y = (indices // width).astype("float32") + 0.5
    return paddle.stack([x / width, y / height], axis=2)


def order_as_in_memory(indices, size):
    """Points from the top of the map to its bottom: what lies together is read and written together.

    On maps larger than the processor's cache that halves the time of sampling.

    Args:
        indices: int64 [N, P].
        size: (height, width) of the map.

    Returns:
        indices and coords, as select_uncertain_points.
    """
    indices = paddle.sort(indices, axis=1)
    return indices, _pixel_centres(indices, *size)


def keep_unsure_points(uncertainty, indices, threshold):
    """Of selected points those whose margin, best minus second-best logit, is at most a threshold.

    All images keep as many points as the one that has most such points, at least one; see `are_unsure`.

    Args:
        uncertainty: [N, 1, H, W].
        indices: what select_uncertain_points made of it, most uncertain first.
        threshold: of the margin, >= 0.

    Returns:
        int64 [N, Q] with Q <= P.
    """
    count = are_unsure(uncertainty, indices, threshold).astype("int64").sum(axis=1).max().clip(min=1)
    return indices[:, : int(count) if paddle.in_dynamic_mode() else count]


def are_unsure(uncertainty, indices, threshold):
    """bool [N, P]: which points' margins are at most a threshold."""
    return paddle.take_along_axis(uncertainty.flatten(1), indices, axis=1, broadcast=False) >= -threshold


def replace_points(logits, indices, point_logits, is_unsure=None):
    """Puts the logits of points into a map; in eager mode the map itself is changed.

    What scatter_paddle does, for indices that are known to be right.

    Args:
        logits: [N, K, H, W].
        indices: int64 [N, P], y * W + x.
        point_logits: [N, K', P] with K' <= K; the last classes of the map stay as they are.
        is_unsure: bool [N, P], the points to change; None for all.

    Returns:
        The map, [N, K, H, W].
    """
    flat, new = logits.flatten(2), point_logits.astype(logits.dtype)
    if is_unsure is not None:
        places = indices.unsqueeze(1).expand([-1, flat.shape[1], -1])
        old = paddle.take_along_axis(flat, places, axis=2, broadcast=False)[:, : new.shape[1]]
        new = paddle.where(is_unsure.unsqueeze(1), new, old)
    index = indices.unsqueeze(1).expand([-1, new.shape[1], -1])
    put = paddle.Tensor.put_along_axis_ if paddle.in_dynamic_mode() else paddle.put_along_axis
    return put(flat, index, new, axis=2, broadcast=False).reshape(logits.shape)


def _at_most(num_points, num_pixels):
    if isinstance(num_pixels, int):
        return min(num_points, num_pixels)
    # Under to_static with dynamic sizes the number of pixels is a tensor.
    return paddle.minimum(paddle.full([], num_points, num_pixels.dtype), num_pixels)


def scatter_paddle(x, index, updates, axis=2):
    """What torch's `x.scatter(axis, index, updates)` gives.

    out[i][index[i][j][k]][k] = updates[i][j][k] for axis = 1 of three axes, and so on for other axes and
    ranks. paddle.scatter replaces whole rows; here the tensors are flattened and each element's place is
    written out as one flat index. Where an index occurs twice, which of its updates stays is not defined.

    Args:
        x: tensor of 1 to 5 axes, floats, int32 or int64; it is not changed.
        index: int32 or int64, as many axes as x, along every axis but `axis` not longer than x. May be empty,
            of any sizes then.
        updates: the dtype of x, as many axes, along no axis shorter than index; what is beyond it is unused.
            Sizes that to_static does not know yet are taken to be those of index.
        axis: the axis that index points along, negative counts from the end.

    Returns:
        A new tensor, x's shape and dtype; differentiable in x and updates.

    Raises:
        ValueError: unequal ranks, an axis that does not exist, sizes that do not fit.
        TypeError: an index that is not int32 or int64, x of a dtype not named above, updates of another dtype.
        IndexError: an index outside [0, x.shape[axis]) (checked in eager mode only).
    """
    axis = _check_scatter_arguments(x, index, updates, axis)
    if _is_empty(index):
        return x.clone()
    if paddle.in_dynamic_mode():
        _check_index_range(index, x.shape[axis], axis)
    updates = _cut_to_shape(updates, index)
    flat_index = _flat_index(x, index.astype("int64"), axis)
    flat = paddle.scatter(x.flatten(), flat_index.flatten(), updates.flatten(), overwrite=True)
    return flat.reshape(x.shape)


@paddle.jit.not_to_static  # there, a size not known yet stays -1 and passes
def _check_scatter_arguments(x, index, updates, axis):
    for name, tensor in (("x", x), ("index", index), ("updates", updates)):
        if not hasattr(tensor, "ndim"):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if not x.ndim == index.ndim == updates.ndim or not 1 <= x.ndim <= 5:
        shapes = f"{list(x.shape)}, {list(index.shape)}, {list(updates.shape)}"
        raise ValueError(f"x, index and updates must have the same number of axes, 1 to 5, got shapes {shapes}")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must lie in [{-x.ndim}, {x.ndim - 1}] for x of {x.ndim} axes, got {axis}")
    axis %= x.ndim
    if index.dtype not in _INDEX_DTYPES:
        raise TypeError(f"index must be int32 or int64, got {index.dtype}")
    if x.dtype not in _SCATTER_DTYPES:
        raise TypeError(f"x must hold floats, int32 or int64, got {x.dtype}; cast it first")
    if updates.dtype != x.dtype:
        raise TypeError(f"updates must have the dtype of x, {x.dtype}, got {updates.dtype}; cast one of them first")
    if 0 not in index.shape:
        _check_scatter_sizes(x, index, updates, axis)
    return axis


def _check_scatter_sizes(x, index, updates, axis):
    for i, size in enumerate(index.shape):
        # A size that to_static does not know yet is -1 and passes.
        if size > updates.shape[i] >= 0 or (i != axis and size > x.shape[i] >= 0):
            raise ValueError(
                f"index of shape {list(index.shape)} is longer along axis {i} than updates "
                f"{list(updates.shape)} or x {list(x.shape)}; only along the scatter axis {axis} may it be "
                "longer than x"
            )


@paddle.jit.not_to_static
def _is_empty(tensor):
    return 0 in tensor.shape


@paddle.jit.not_to_static
def _cut_to_shape(tensor, like):
    if list(tensor.shape) == list(like.shape):
        return tensor
    return tensor[tuple(slice(0, size) for size in like.shape)]


def _check_index_range(index, size, axis):
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        raise IndexError(f"index {wrong} is out of range for axis {axis} of size {size}; indices lie in [0, {size})")


def _flat_index(x, index, axis):
    """int64, index's shape: each element's place in x.flatten()."""
    flat, stride = 0, 1
    for i in reversed(range(x.ndim)):
        if i == axis:
            place = index
        else:
            place = paddle.arange(index.shape[i], dtype="int64").reshape([-1] + [1] * (x.ndim - 1 - i))
        flat = flat + place * stride
        stride = stride * x.shape[i]
    return flat


@paddle.jit.not_to_static  # there, a size not known yet stays -1 and passes
def _check_same_batch(name, tensor, other_name, other):
    sizes = tensor.shape[0], other.shape[0]
    if -1 not in sizes and sizes[0] != sizes[1]:
        raise ValueError(f"{name} and {other_name} must hold the same number of images, got {sizes[0]} and {sizes[1]}")
