import numpy as np
import paddle
import pytest
import slow_references as slow

from paddle_pointrend import scatter_paddle

RNG = np.random.default_rng(7)
SHAPE = (4, 3, 5, 2, 3)
EVERY_AXIS = [(ndim, axis) for ndim in range(1, 6) for axis in range(-ndim, ndim)]


def scatter_case(x_shape, index_shape, axis, *, updates_longer=0, index_dtype="int64", dtype="float64"):
    """Arrays x, index, updates; no place is written twice, so that the result is defined."""
    order = np.argsort(RNG.random([*index_shape[:axis], x_shape[axis], *index_shape[axis + 1 :]]), axis=axis)
    index = np.take(order, range(index_shape[axis]), axis).astype(index_dtype)
    x = RNG.integers(-99, 99, x_shape).astype(dtype)
    updates = RNG.integers(100, 999, [size + updates_longer for size in index_shape]).astype(dtype)
    return x, index, updates


def run_scatter(x, index, updates, axis):
    return scatter_paddle(*map(paddle.to_tensor, (x, index, updates)), axis=axis)


class TestScatter:
    @pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
    @pytest.mark.parametrize("index_dtype", ["int32", "int64"])
    @pytest.mark.parametrize(("ndim", "axis"), EVERY_AXIS)
    def test_equals_the_loop(self, ndim, axis, index_dtype, dtype):
        x, index, updates = scatter_case(SHAPE[:ndim], SHAPE[:ndim], axis % ndim, index_dtype=index_dtype, dtype=dtype)
        out = run_scatter(x, index, updates, axis)
        assert out.numpy().dtype == x.dtype
        np.testing.assert_array_equal(out.numpy(), slow.scatter(x, index, updates, axis))

    @pytest.mark.parametrize("updates_longer", [0, 1])
    @pytest.mark.parametrize(("ndim", "axis"), EVERY_AXIS)
    def test_index_shorter_along_each_dimension_and_along_all(self, ndim, axis, updates_longer):
        shape = SHAPE[:ndim]
        shorter_along = [*range(ndim), "all"]
        for along in shorter_along:
            index_shape = [size - (along in (i, "all")) for i, size in enumerate(shape)]
            x, index, updates = scatter_case(shape, index_shape, axis % ndim, updates_longer=updates_longer)
            out = run_scatter(x, index, updates, axis)
            np.testing.assert_array_equal(out.numpy(), slow.scatter(x, index, updates, axis))

    def test_index_longer_than_x_along_the_axis(self):
        x = np.zeros((2, 3), "float32")
        index = np.array([[0, 1, 2, 0, 1], [2, 2, 2, 2, 2]])
        updates = np.array([[5, 6, 7, 5, 6], [8, 8, 8, 8, 8]], "float32")  # the same value wherever a place repeats
        np.testing.assert_array_equal(run_scatter(x, index, updates, 1).numpy(), [[5, 6, 7], [0, 0, 8]])

    def test_axis_defaults_to_the_points_of_a_flattened_map(self):
        x, index, updates = scatter_case((2, 3, 8), (2, 3, 4), 2)
        out = scatter_paddle(*map(paddle.to_tensor, (x, index, updates)))
        np.testing.assert_array_equal(out.numpy(), slow.scatter(x, index, updates, 2))

    @pytest.mark.parametrize("index_shape", [(0, 3), (2, 0), (0, 0), (0, 10)])  # torch takes the last one too
    def test_empty_index_gives_a_copy(self, index_shape):
        x = paddle.to_tensor(RNG.random((2, 3)), stop_gradient=False)
        out = scatter_paddle(x, paddle.zeros(index_shape, "int64"), paddle.zeros(index_shape, "float64"), axis=1)
        np.testing.assert_array_equal(out.numpy(), x.numpy())
        assert out is not x
        out.sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), np.ones((2, 3)))

    def test_x_stays_as_it_was(self):
        x, index, updates = scatter_case((3, 4), (3, 4), 1)
        tensor = paddle.to_tensor(x)
        out = scatter_paddle(tensor, paddle.to_tensor(index), paddle.to_tensor(updates), axis=1)
        assert (out.numpy() != x).all()
        np.testing.assert_array_equal(tensor.numpy(), x)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_gradients_to_x_and_updates(self, axis):
        x, index, updates = scatter_case((3, 4, 2), (2, 3, 1), axis, updates_longer=1)
        weights = RNG.standard_normal(x.shape)
        tensors = [paddle.to_tensor(array, stop_gradient=False) for array in (x, updates)]
        out = scatter_paddle(tensors[0], paddle.to_tensor(index), tensors[1], axis=axis)
        ((out**2) * paddle.to_tensor(weights)).sum().backward()

        def loss(x_value, updates_value):
            return (slow.scatter(x_value, index, updates_value, axis) ** 2 * weights).sum()

        for tensor, expected in (
            (tensors[0], slow.numeric_gradient(lambda value: loss(value, updates), x)),
            (tensors[1], slow.numeric_gradient(lambda value: loss(x, value), updates)),
        ):
            assert np.abs(expected).max() > 1
            np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-5, atol=1e-3)

    @pytest.mark.parametrize(("wrong", "axis", "size"), [(3, 0, 3), (-1, 0, 3), (4, 1, 4), (-7, 1, 4)])
    def test_index_out_of_range_is_named(self, wrong, axis, size):
        index = np.zeros((3, 4), "int64")
        index[1, 2] = wrong
        with pytest.raises(IndexError, match=rf"index {wrong} is out of range for axis {axis} of size {size}"):
            run_scatter(np.zeros((3, 4)), index, np.zeros((3, 4)), axis)

    @pytest.mark.parametrize(
        ("x_shape", "index_shape", "updates_shape", "axis", "message"),
        [
            ((3, 4), (3,), (3, 4), 0, "same number of axes"),
            ((3, 4), (3, 4), (3, 4, 1), 0, "same number of axes"),
            ((1,) * 6, (1,) * 6, (1,) * 6, 0, "1 to 5"),
            ((3, 4), (3, 4), (3, 4), 2, r"axis must lie in \[-2, 1\] .* got 2"),
            ((3, 4), (3, 4), (3, 4), -3, "got -3"),
            ((3, 4), (3, 4), (3, 3), 0, "longer along axis 1"),
            ((3, 4), (3, 5), (3, 5), 0, "longer along axis 1"),
        ],
    )
    def test_wrong_shapes(self, x_shape, index_shape, updates_shape, axis, message):
        with pytest.raises(ValueError, match=message):
            run_scatter(np.zeros(x_shape), np.zeros(index_shape, "int64"), np.zeros(updates_shape), axis)

    @pytest.mark.parametrize("index_dtype", ["float32", "int16", "bool"])
    def test_wrong_index_dtype(self, index_dtype):
        with pytest.raises(TypeError, match=f"index must be int32 or int64, got .*{index_dtype}"):
            run_scatter(np.zeros(3), np.zeros(3, index_dtype), np.zeros(3), 0)

    def test_wrong_updates_dtype(self):
        with pytest.raises(TypeError, match=r"dtype of x, .*float64, got .*float32"):
            run_scatter(np.zeros(3), np.zeros(3, "int64"), np.zeros(3, "float32"), 0)


@pytest.mark.torch
class TestAgainstTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.mark.parametrize(("ndim", "axis"), EVERY_AXIS)
    def test_scatter(self, torch, ndim, axis):
        shape = SHAPE[:ndim]
        for shorter in range(2):
            index_shape = [size - shorter for size in shape]
            x, index, updates = scatter_case(shape, index_shape, axis % ndim, updates_longer=shorter)
            expected = torch.tensor(x).scatter(axis, torch.tensor(index), torch.tensor(updates))
            np.testing.assert_array_equal(run_scatter(x, index, updates, axis).numpy(), expected.numpy())

    def test_scatter_gradients(self, torch):
        x, index, updates = scatter_case((2, 3, 8), (2, 3, 5), 2)  # torch's backward takes no longer updates
        weights = RNG.standard_normal(x.shape)
        gradients = []
        for library, make in ((paddle, paddle.to_tensor), (torch, torch.tensor)):
            x_tensor, updates_tensor = make(x), make(updates)
            for tensor in (x_tensor, updates_tensor):
                if library is paddle:
                    tensor.stop_gradient = False
                else:
                    tensor.requires_grad_(True)
            if library is paddle:
                out = scatter_paddle(x_tensor, make(index), updates_tensor, axis=2)
            else:
                out = x_tensor.scatter(2, make(index), updates_tensor)
            (out * make(weights)).sum().backward()
            gradients.append((x_tensor.grad.numpy(), updates_tensor.grad.numpy()))
        for ours, theirs in zip(*gradients):
            np.testing.assert_array_equal(ours, theirs)


def test_scatter_names_what_is_no_tensor_and_dtypes_it_does_not_take():
    x, index = paddle.zeros([3]), paddle.zeros([1], "int64")
    with pytest.raises(TypeError, match=r"updates must be a tensor, got float"):
        scatter_paddle(x, index, 1.0, axis=0)
    with pytest.raises(TypeError, match=r"floats, int32 or int64, got paddle.bool"):
        scatter_paddle(x.astype("bool"), index, x[:1].astype("bool"), axis=0)
