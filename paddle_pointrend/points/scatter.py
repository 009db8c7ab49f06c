"""torch's scatter along one axis, with Paddle's operations."""

import paddle

from paddle_pointrend.points.sampling import is_empty

_INDEX_DTYPES = (paddle.int32, paddle.int64)
_SCATTER_DTYPES = (paddle.float16, paddle.bfloat16, paddle.float32, paddle.float64, *_INDEX_DTYPES)


def scatter_paddle(x: paddle.Tensor, index: paddle.Tensor, updates: paddle.Tensor, axis: int = 2) -> paddle.Tensor:
    """Writes updates into a copy of x where index says, as torch's `x.scatter(axis, index, updates)` does.

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
    if is_empty(index):
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
