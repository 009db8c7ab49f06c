import itertools
import math

import numpy as np
import paddle
import pytest
import slow_references as slow

from paddle_pointrend import calculate_uncertainty, sample_training_points, select_uncertain_points
from paddle_pointrend.points.selection import select_subdivision_points

RNG = np.random.default_rng(7)


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


class TestSelectSubdivisionPoints:
    def test_are_the_most_uncertain_ones_in_the_order_of_memory(self):
        uncertainty = paddle.to_tensor(RNG.standard_normal((2, 1, 5, 6)).astype("float32"))
        indices, coords, mask = select_subdivision_points(uncertainty, 9)
        expected, expected_coords = select_uncertain_points(uncertainty, 9)
        assert mask is None
        np.testing.assert_array_equal(indices.numpy(), np.sort(expected.numpy(), axis=1))
        places = np.argsort(expected.numpy(), axis=1)[..., None]
        np.testing.assert_array_equal(coords.numpy(), np.take_along_axis(expected_coords.numpy(), places, axis=1))

    def test_keeps_margins_up_to_the_threshold(self):
        margins = np.stack([RNG.permutation(30) / 2, RNG.permutation(30)]).reshape(2, 1, 5, 6).astype("float32")
        counts = (margins <= 8).reshape(2, -1).sum(axis=1)
        assert counts.tolist() == [17, 9]
        indices, _, mask = select_subdivision_points(paddle.to_tensor(-margins), 20, 8)
        most_uncertain = np.argsort(margins.reshape(2, -1), axis=1)[:, : counts.max()]
        np.testing.assert_array_equal(indices.numpy(), np.sort(most_uncertain, axis=1))
        expected = np.take_along_axis(margins.reshape(2, 30), indices.numpy(), axis=1) <= 8
        np.testing.assert_array_equal(mask.numpy(), expected)
        assert mask.numpy().sum(axis=1).tolist() == counts.tolist()

    def test_keeps_one_where_all_are_sure(self):
        indices, _, mask = select_subdivision_points(paddle.full([2, 1, 4, 4], -9.0), 5, 1.0)
        assert indices.shape == [2, 1]
        assert not mask.numpy().any()


def test_unsorted_points_are_the_same_points():
    uncertainty = paddle.to_tensor(RNG.permutation(60).reshape(2, 1, 5, 6).astype("float32"))
    indices, coords = select_uncertain_points(uncertainty, 9, sorted=False)
    expected, _ = select_uncertain_points(uncertainty, 9)
    np.testing.assert_array_equal(np.sort(indices.numpy()), np.sort(expected.numpy()))
    np.testing.assert_array_equal((coords.numpy() * [6, 5]) // 1 @ [1, 6], indices.numpy())


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

    def test_the_measure_of_uncertainty_is_an_argument(self):
        # As instance segmentation needs it: of one class, whatever the others say.
        logits = paddle.concat([boundary_map(), paddle.full([1, 1, 64, 64], 9.0)], axis=1)
        options = {"importance_sample_ratio": 1, "uncertainty_func": lambda sampled: -sampled[:, :1].abs()}
        coords = sample_training_points(logits, 500, 6, **options).numpy()
        assert np.abs(coords[0, :, 0] - 0.5).max() < 1 / 8


def test_a_number_of_points_must_be_whole():
    with pytest.raises(ValueError, match=r"whole number of at least 1, got 100.0"):
        select_uncertain_points(paddle.zeros([1, 1, 4, 4]), 1e2)
