import itertools
import math

import numpy as np
import paddle
import pytest
import slow_references as slow

from paddle_pointrend import (
    calculate_uncertainty,
    point_sample,
    sample_training_points,
    scatter_paddle,
    select_uncertain_points,
)
from paddle_pointrend.points.operations import (
    are_unsure,
    grid_of_classes,
    grid_sample_everywhere,
    keep_unsure_points,
    order_as_in_memory,
    point_reader,
    replace_points,
)

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


class TestPointSample:
    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_equals_the_loop_inside_at_the_border_and_outside(self, mode, dtype):
        features = RNG.standard_normal((2, 3, 5, 8)).astype(dtype)
        coords = RNG.uniform(-0.3, 1.3, (2, 200, 2)).astype(dtype)
        sampled = point_sample(paddle.to_tensor(features), paddle.to_tensor(coords), mode=mode).numpy()
        assert sampled.shape == (2, 3, 200)
        assert sampled.dtype == dtype
        np.testing.assert_allclose(sampled, slow.point_sample(features, coords, mode), atol=1e-5)

    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    def test_pixel_centres_give_the_pixels(self, mode):
        height, width = 7, 10
        features = RNG.standard_normal((1, 4, height, width)).astype("float32")
        y, x = np.divmod(np.arange(height * width), width)
        coords = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=1)[None].astype("float32")
        sampled = point_sample(paddle.to_tensor(features), paddle.to_tensor(coords), mode=mode).numpy()
        np.testing.assert_allclose(sampled, features.reshape(1, 4, -1), atol=1e-5)

    def test_the_edge_of_the_map_is_half_zero(self):
        sampled = point_sample(paddle.ones([1, 1, 4, 4]), paddle.to_tensor([[[0.0, 0.5], [1.0, 0.5], [0.0, 0.0]]]))
        np.testing.assert_allclose(sampled.numpy().ravel(), [0.5, 0.5, 0.25], atol=1e-6)

    def test_nearest_between_two_pixels_takes_the_even_one(self):
        coords = paddle.to_tensor([[[i / 8, 0.5] for i in range(8)]])
        sampled = point_sample(paddle.arange(8.0).reshape([1, 1, 1, 8]), coords, mode="nearest")
        np.testing.assert_array_equal(sampled.numpy().ravel(), [0, 0, 2, 2, 4, 4, 6, 6])

    def test_align_corners_puts_0_and_1_on_the_outer_pixels(self):
        coords = paddle.to_tensor([[[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]]])
        sampled = point_sample(paddle.to_tensor([[[[3.0, 4.0, 9.0]]]]), coords, align_corners=True)
        np.testing.assert_allclose(sampled.numpy().ravel(), [3, 9, 4], atol=1e-6)

    def test_gradients_to_features_and_coordinates(self):
        features = RNG.standard_normal((1, 2, 3, 4))
        # Within the cells between pixel centres: at the centres the slope jumps.
        cells = RNG.integers(0, 3, (1, 6, 2)) + RNG.uniform(0.1, 0.9, (1, 6, 2))
        coords = (cells + 0.5) / np.array([4, 3])
        tensors = [paddle.to_tensor(array, stop_gradient=False) for array in (features, coords)]
        (point_sample(*tensors) ** 2).sum().backward()
        for tensor, expected in (
            (
                tensors[0],
                slow.numeric_gradient(lambda f: (slow.point_sample(f, coords) ** 2).sum(), features),
            ),
            (
                tensors[1],
                slow.numeric_gradient(lambda c: (slow.point_sample(features, c) ** 2).sum(), coords),
            ),
        ):
            assert np.abs(expected).max() > 0.1
            np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-5, atol=1e-6)

    def test_no_points(self):
        sampled = point_sample(paddle.ones([2, 3, 4, 4]), paddle.zeros([2, 0, 2]))
        assert list(sampled.shape) == [2, 3, 0]

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_does_not_round_the_coordinates(self, dtype):
        # In half precision 2 * 0.99 - 1 would miss column 989.5 of 1000 by tenths of a pixel.
        ramp = (paddle.arange(1000.0) - 989).reshape([1, 1, 1, 1000]).astype(dtype)
        sampled = point_sample(ramp, paddle.to_tensor([[[0.99, 0.5]]]))
        assert sampled.dtype == ramp.dtype
        assert sampled.item() == pytest.approx(0.5, abs=0.01)

    @pytest.mark.parametrize(
        ("features", "coords", "mode", "error", "message"),
        [
            ((2, 4, 4), (2, 3, 2), "bilinear", ValueError, r"\[N, C, H, W\], got shape \[2, 4, 4\]"),
            ((2, 1, 4, 4), (2, 3, 3), "bilinear", ValueError, r"\[N, P, 2\], got shape \[2, 3, 3\]"),
            ((2, 1, 4, 4), (2, 2), "bilinear", ValueError, r"\[N, P, 2\], got shape \[2, 2\]"),
            ((2, 1, 4, 4), (3, 3, 2), "bilinear", ValueError, "same number of images, got 2 and 3"),
            ((2, 1, 4, 4), (2, 3, 2), "bicubic", ValueError, "got 'bicubic'"),
        ],
    )
    def test_wrong_arguments(self, features, coords, mode, error, message):
        with pytest.raises(error, match=message):
            point_sample(paddle.zeros(features), paddle.zeros(coords), mode=mode)

    def test_integers_are_refused(self):
        with pytest.raises(TypeError, match=r"floating point, got .*int64"):
            point_sample(paddle.zeros([1, 1, 4, 4], "int64"), paddle.zeros([1, 2, 2]))


class TestUncertainty:
    @pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 2)])
    @pytest.mark.parametrize("num_classes", [1, 2, 3, 5, 11, 19, 150])
    def test_equals_the_sorted_difference(self, num_classes, shape):
        logits = RNG.standard_normal((2, num_classes, *shape)).astype("float32")
        result = calculate_uncertainty(paddle.to_tensor(logits)).numpy()
        assert result.shape == (2, 1, *shape)
        np.testing.assert_array_equal(result, slow.uncertainty(logits))

    def test_the_two_best_are_found_at_every_pair_of_places(self):
        for num_classes in (2, 3, 5, 6, 7, 11, 19):
            for best, second in itertools.permutations(range(num_classes), 2):
                logits = np.full((1, num_classes), -5.0, "float32")
                logits[0, best], logits[0, second] = 3, 1
                assert calculate_uncertainty(paddle.to_tensor(logits)).item() == -2

    @pytest.mark.parametrize("num_classes", [2, 3, 5, 11, 19])
    def test_ties_are_zero(self, num_classes):
        logits = RNG.integers(0, 3, (1, num_classes, 500)).astype("float32")
        result = calculate_uncertainty(paddle.to_tensor(logits)).numpy()
        assert (result == 0).any()
        np.testing.assert_array_equal(result, slow.uncertainty(logits))

    # 4, 12 and 20 classes fill a grid, for which graphs have a way of their own; 11 and 19 do not.
    @pytest.mark.parametrize("num_classes", [1, 2, 4, 11, 12, 19, 20])
    def test_graphs_find_the_same_ties_included(self, num_classes):
        spec = paddle.static.InputSpec([None, num_classes, None, None], "float32")
        static = paddle.jit.to_static(calculate_uncertainty, input_spec=[spec], full_graph=True)
        ties = RNG.integers(0, 4, (2, num_classes, 20, 30))
        for logits in (ties.astype("float32"), RNG.standard_normal((1, num_classes, 7, 5)).astype("float32")):
            result = static(paddle.to_tensor(logits)).numpy()
            np.testing.assert_array_equal(result, slow.uncertainty(logits))

    @pytest.mark.parametrize("num_classes", [2, 3, 5, 11, 19, 20, 21, 150])
    def test_the_grid_of_classes_is_the_smallest_nearly_square_one(self, num_classes):
        rows, columns = grid_of_classes(num_classes)
        assert (rows - 1) * columns < num_classes <= rows * columns
        assert columns <= rows <= columns + 2

    def test_needs_no_topk_and_no_sort(self, monkeypatch):
        def forbidden(*args, **kwargs):
            raise AssertionError("called")

        for name in ("topk", "sort", "argsort", "kthvalue"):
            monkeypatch.setattr(paddle, name, forbidden)
            monkeypatch.setattr(paddle.Tensor, name, forbidden)
        assert calculate_uncertainty(paddle.to_tensor([[1.0, 4.0, 2.0]])).item() == -2

    @pytest.mark.parametrize("shape", [(3,), (2, 0, 4)])
    def test_wrong_shape(self, shape):
        with pytest.raises(ValueError, match=r"\[N, K, ...\] with K >= 1"):
            calculate_uncertainty(paddle.zeros(shape))


class TestPointReader:
    @pytest.mark.parametrize("needs_gradient", [False, True])
    @pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 4, 1, 6), (3, 1, 8, 8)])
    def test_is_point_sample_inside_at_the_border_and_outside(self, shape, needs_gradient):
        features = paddle.to_tensor(RNG.standard_normal(shape).astype("float32"), stop_gradient=not needs_gradient)
        coords = paddle.to_tensor(RNG.uniform(-0.3, 1.3, (shape[0], 50, 2)).astype("float32"))
        read = point_reader(features)
        np.testing.assert_allclose(read(coords).numpy(), point_sample(features, coords).numpy(), atol=1e-5)
        expected = slow.point_sample(features.numpy(), coords.numpy())
        np.testing.assert_allclose(read(coords).numpy(), expected, atol=1e-5)

    def test_gradients_are_those_of_point_sample(self):
        arrays = RNG.standard_normal((2, 3, 5, 7)).astype("float32"), RNG.random((2, 20, 2)).astype("float32")
        gradients = []
        for sample in (lambda features, coords: point_reader(features)(coords), point_sample):
            features, coords = (paddle.to_tensor(array, stop_gradient=False) for array in arrays)
            (sample(features, coords) ** 2).sum().backward()
            gradients.append((features.grad.numpy(), coords.grad.numpy()))
        for ours, theirs in zip(*gradients):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)

    def test_leaves_grid_sample_to_other_runtimes(self):
        features, coords = paddle.rand([1, 2, 4, 4]), paddle.rand([1, 3, 2])
        assert point_reader(features).func is not point_sample
        with grid_sample_everywhere():
            assert point_reader(features).func is point_sample
        assert point_reader(features).func is not point_sample
        assert point_reader(features.astype("float64")).func is point_sample
        coords.stop_gradient = False  # of coords alone too
        (point_reader(features)(coords) ** 2).sum().backward()
        assert float(coords.grad.abs().sum()) > 0
        np.testing.assert_allclose(point_reader(features)(coords), point_sample(features, coords), atol=1e-6)


class TestKeepUnsurePoints:
    def test_keeps_margins_up_to_the_threshold(self):
        margins = np.stack([RNG.permutation(30) / 2, RNG.permutation(30)]).reshape(2, 1, 5, 6).astype("float32")
        uncertainty = paddle.to_tensor(-margins)
        indices, _ = select_uncertain_points(uncertainty, 20)
        kept = keep_unsure_points(uncertainty, indices, 8)
        counts = (margins <= 8).reshape(2, -1).sum(axis=1)
        assert counts.tolist() == [17, 9]
        np.testing.assert_array_equal(kept.numpy(), indices.numpy()[:, : counts.max()])
        is_unsure = are_unsure(uncertainty, kept, 8).numpy()
        expected = np.take_along_axis(margins.reshape(2, 30), kept.numpy(), axis=1) <= 8
        np.testing.assert_array_equal(is_unsure, expected)
        assert is_unsure.sum(axis=1).tolist() == counts.tolist()

    def test_keeps_one_where_all_are_sure(self):
        uncertainty = paddle.full([2, 1, 4, 4], -9.0)
        indices, _ = select_uncertain_points(uncertainty, 5)
        kept = keep_unsure_points(uncertainty, indices, 1.0)
        assert kept.shape == [2, 1]
        assert not are_unsure(uncertainty, kept, 1.0).numpy().any()


def test_unsorted_points_are_the_same_points():
    uncertainty = paddle.to_tensor(RNG.permutation(60).reshape(2, 1, 5, 6).astype("float32"))
    indices, coords = select_uncertain_points(uncertainty, 9, sorted=False)
    expected, _ = select_uncertain_points(uncertainty, 9)
    np.testing.assert_array_equal(np.sort(indices.numpy()), np.sort(expected.numpy()))
    np.testing.assert_array_equal((coords.numpy() * [6, 5]) // 1 @ [1, 6], indices.numpy())


def test_points_in_memory_order_are_the_same_points():
    indices, coords = select_uncertain_points(paddle.to_tensor(RNG.standard_normal((2, 1, 5, 6)).astype("float32")), 9)
    ordered, ordered_coords = order_as_in_memory(indices, (5, 6))
    np.testing.assert_array_equal(ordered.numpy(), np.sort(indices.numpy(), axis=1))
    places = np.argsort(indices.numpy(), axis=1)[..., None]
    np.testing.assert_array_equal(ordered_coords.numpy(), np.take_along_axis(coords.numpy(), places, axis=1))


class TestReplacePoints:
    @pytest.mark.parametrize("spare_classes", [0, 2])
    def test_is_scatter_paddle(self, spare_classes):
        logits = RNG.standard_normal((2, 3 + spare_classes, 4, 5)).astype("float32")
        indices = np.stack([RNG.permutation(20)[:6] for _ in range(2)])
        new = RNG.standard_normal((2, 3, 6)).astype("float32")
        result = replace_points(*map(paddle.to_tensor, (logits, indices, new))).numpy()
        index = np.broadcast_to(indices[:, None], new.shape).copy()
        x, index, new = map(paddle.to_tensor, (logits[:, :3].reshape(2, 3, 20), index, new))
        expected = scatter_paddle(x, index, new, axis=2)
        np.testing.assert_array_equal(result[:, :3].reshape(2, 3, 20), expected.numpy())
        np.testing.assert_array_equal(result[:, 3:], logits[:, 3:])

    def test_sure_points_stay(self):
        logits, indices = paddle.zeros([1, 2, 2, 2]), paddle.to_tensor([[3, 0]])
        is_unsure = paddle.to_tensor([[True, False]])
        result = replace_points(logits, indices, paddle.ones([1, 2, 2]), is_unsure).numpy()
        np.testing.assert_array_equal(result[0, 0], [[0, 0], [0, 1]])


class TestSelectUncertainPoints:
    def test_takes_the_most_uncertain_pixels_in_order(self):
        values = -RNG.permutation(2 * 6 * 9).reshape(2, 1, 6, 9).astype("float32")
        indices, coords = select_uncertain_points(paddle.to_tensor(values), 10)
        assert indices.dtype == paddle.int64
        assert coords.dtype == paddle.float32
        expected = np.argsort(-values.reshape(2, -1), axis=1)[:, :10]
        np.testing.assert_array_equal(indices.numpy(), expected)
        centres = np.stack([(expected % 9 + 0.5) / 9, (expected // 9 + 0.5) / 6], axis=2)
        np.testing.assert_allclose(coords.numpy(), centres, atol=1e-6)

    def test_is_exact_above_2_to_the_24(self):
        height, width = 4096, 8192
        hot = np.array([0, 2**24 - 1, 2**24 + 1, 2**24 + 3, 2**25 - 2, 2**25 - 1, 5 * width + 8191, 20000001])
        uncertainty = np.full(height * width, -9, "float32")
        uncertainty[hot] = -np.arange(len(hot))
        tensor = paddle.to_tensor(uncertainty.reshape(1, 1, height, width))
        indices, coords = select_uncertain_points(tensor, len(hot))
        np.testing.assert_array_equal(indices.numpy()[0], hot)
        columns, rows = (coords.numpy()[0].astype(np.float64) * [width, height] - 0.5).T
        np.testing.assert_array_equal(rows * width + columns, hot)

    def test_coordinates_lead_back_to_the_pixel_for_any_width(self):
        height, width = 3, 100_003
        uncertainty = paddle.to_tensor(RNG.random((1, 1, height, width), dtype="float32"))
        indices, coords = select_uncertain_points(uncertainty, 5000)
        columns, rows = np.floor(coords.numpy()[0].astype(np.float64) * [width, height]).astype(int).T
        np.testing.assert_array_equal(rows * width + columns, indices.numpy()[0])

    @pytest.mark.parametrize("num_points", [11, 12, 13, 8192])
    def test_a_map_with_fewer_pixels_gives_all_of_them_once(self, num_points):
        indices, coords = select_uncertain_points(paddle.rand([2, 1, 3, 4]), num_points)
        assert list(coords.shape) == [2, min(num_points, 12), 2]
        for row in indices.numpy():
            assert len(set(row.tolist())) == min(num_points, 12)

    def test_to_static_with_dynamic_sizes_equals_eager(self):
        spec = [paddle.static.InputSpec([None, 1, None, None], "float32")]

        def select_50(uncertainty):
            return select_uncertain_points(uncertainty, 50)

        static = paddle.jit.to_static(select_50, input_spec=spec, full_graph=True)
        for shape in ((2, 1, 8, 9), (1, 1, 4, 5), (3, 1, 30, 41), (1, 1, 1, 1)):
            uncertainty = paddle.rand(shape)
            indices, coords = static(uncertainty)
            expected_indices, expected_coords = select_uncertain_points(uncertainty, 50)
            np.testing.assert_array_equal(indices.numpy(), expected_indices.numpy())
            np.testing.assert_allclose(coords.numpy(), expected_coords.numpy(), atol=1e-6)

    @pytest.mark.parametrize("shape", [(2, 3, 4), (2, 2, 3, 4)])
    def test_wrong_shape(self, shape):
        with pytest.raises(ValueError, match=r"\[N, 1, H, W\]"):
            select_uncertain_points(paddle.zeros(shape), 5)

    def test_no_points_are_refused(self):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            select_uncertain_points(paddle.zeros([1, 1, 3, 4]), 0)


def boundary_map(size=64):
    """Two classes, equally likely at x = 0.5 and the surer the farther away."""
    ramp = paddle.linspace(-1, 1, size).expand([size, size])
    return paddle.stack([ramp, paddle.zeros_like(ramp)]).unsqueeze(0)


class TestSampleTrainingPoints:
    @pytest.mark.parametrize("beta", [0, 0.3, 0.75, 1])
    @pytest.mark.parametrize("num_points", [1, 7, 64])
    def test_count_range_and_no_gradient(self, num_points, beta):
        logits = paddle.rand([3, 5, 9, 6])
        logits.stop_gradient = False
        coords = sample_training_points(logits, num_points, importance_sample_ratio=beta)
        assert list(coords.shape) == [3, num_points, 2]
        assert coords.dtype == paddle.float32
        assert coords.stop_gradient
        assert float(coords.min()) >= 0
        assert float(coords.max()) < 1

    def test_images_get_points_of_their_own(self):
        coords = sample_training_points(paddle.rand([1, 3, 8, 8]).expand([2, 3, 8, 8]), 16).numpy()
        assert (coords[0] != coords[1]).all()

    def test_a_seed_repeats_and_another_does_not(self):
        logits = paddle.rand([2, 4, 8, 8])
        runs = []
        for seed in (3, 3, 4):
            paddle.seed(seed)
            runs.append(sample_training_points(logits, 32).numpy())
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).any()

    def test_the_asked_share_lies_where_the_logits_are_unsure(self):
        # Of 3 * 4000 candidates the 3000 nearest to x = 0.5 are kept, |x - 0.5| < 1/8, and a quarter of the
        # 1000 others falls there.
        near = np.abs(sample_training_points(boundary_map(), 4000).numpy()[0, :, 0] - 0.5) < 1 / 8
        assert near.mean() == pytest.approx(0.75 + 0.25 * 0.25, abs=0.03)

    def test_beta_0_is_uniform_and_beta_1_is_not(self):
        for beta, share in ((0, 1 / 3), (1, 1.0)):
            coords = sample_training_points(boundary_map(), 4000, importance_sample_ratio=beta).numpy()
            assert (np.abs(coords[0, :, 0] - 0.5) < 1 / 6).mean() == pytest.approx(share, abs=0.04)

    @pytest.mark.parametrize(
        ("num_points", "k", "beta", "num_candidates", "num_uncertain"),
        [(7, 1.5, 0.5, 10, 3), (10, 3, 0.75, 30, 7), (5, 1, 1, 5, 5), (3, 2.9, 0.99, 8, 2)],
    )
    def test_floors_and_keeps_exactly_the_most_uncertain_candidates(
        self, monkeypatch, num_points, k, beta, num_candidates, num_uncertain
    ):
        drawn = []
        rand = paddle.rand

        def recorded(*args, **kwargs):
            drawn.append(rand(*args, **kwargs))
            return drawn[-1]

        logits = paddle.randn([2, 4, 6, 5])
        monkeypatch.setattr(paddle, "rand", recorded)
        coords = sample_training_points(logits, num_points, k, beta).numpy()
        candidates = drawn[0].numpy()
        assert candidates.shape == (2, num_candidates, 2)
        unsure = slow.uncertainty(slow.point_sample(logits.numpy(), candidates))[:, 0]
        for n in range(2):
            kept = candidates[n, np.argsort(-unsure[n])[:num_uncertain]]
            np.testing.assert_array_equal(coords[n, :num_uncertain], kept)
        if num_uncertain < num_points:
            np.testing.assert_array_equal(coords[:, num_uncertain:], drawn[1].numpy())

    def test_uncertainty_is_computed_on_sampled_logits(self):
        # Both pixels are sure, of different classes. A map of their uncertainties is flat but for the padding
        # at the outer edge, so that points chosen on it would gather there; sampled logits meet at x = 0.5.
        logits = paddle.to_tensor([[[[10.0, -10.0]], [[-10.0, 10.0]]]])
        coords = sample_training_points(logits, 500, oversample_ratio=8, importance_sample_ratio=1).numpy()
        assert np.abs(coords[0, :, 0] - 0.5).max() < 0.2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_points": 0}, "num_points must be a whole number of at least 1, got 0"),
            ({"num_points": 8, "oversample_ratio": 0.5}, "at least 1, got 0.5"),
            ({"num_points": 8, "importance_sample_ratio": 1.5}, r"\[0, 1\], got 1.5"),
            ({"num_points": 8, "importance_sample_ratio": -0.1}, r"\[0, 1\], got -0.1"),
            ({"num_points": 8, "importance_sample_ratio": math.nan}, "got nan"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            sample_training_points(paddle.rand([1, 2, 4, 4]), **arguments)


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

    @pytest.mark.parametrize("align_corners", [False, True])
    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    def test_point_sample(self, torch, mode, align_corners):
        features = RNG.standard_normal((2, 3, 6, 9)).astype("float32")
        coords = RNG.uniform(-0.2, 1.2, (2, 300, 2)).astype("float32")
        ours = point_sample(
            paddle.to_tensor(features), paddle.to_tensor(coords), mode=mode, align_corners=align_corners
        )
        theirs = torch_point_sample(torch, features, coords, mode, align_corners)
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)

    def test_nearest_ties(self, torch):
        features = np.arange(1, 129, dtype="float32").reshape(1, 1, 8, 16)
        y, x = np.divmod(np.arange(9 * 17), 17)
        coords = np.stack([x / 16, y / 8], axis=1)[None].astype("float32")
        ours = point_sample(paddle.to_tensor(features), paddle.to_tensor(coords), mode="nearest")
        np.testing.assert_array_equal(ours.numpy(), torch_point_sample(torch, features, coords, "nearest", False))


def torch_point_sample(torch, features, coords, mode, align_corners):
    grid = 2.0 * torch.tensor(coords).unsqueeze(2) - 1.0
    sample = torch.nn.functional.grid_sample
    return sample(torch.tensor(features), grid, mode=mode, align_corners=align_corners).squeeze(3).numpy()


def test_scatter_names_what_is_no_tensor_and_dtypes_it_does_not_take():
    x, index = paddle.zeros([3]), paddle.zeros([1], "int64")
    with pytest.raises(TypeError, match=r"updates must be a tensor, got float"):
        scatter_paddle(x, index, 1.0, axis=0)
    with pytest.raises(TypeError, match=r"floats, int32 or int64, got paddle.bool"):
        scatter_paddle(x.astype("bool"), index, x[:1].astype("bool"), axis=0)


def test_a_number_of_points_must_be_whole():
    with pytest.raises(ValueError, match=r"whole number of at least 1, got 100.0"):
        select_uncertain_points(paddle.zeros([1, 1, 4, 4]), 1e2)
