"""PointRendSeg in evaluation."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import slow_references as slow
from tiny_pointrend import FixedSegmentor, numpy_head, small_model, spread_predictor

from paddle_pointrend import (
    PointHead,
    PointRendSeg,
    calculate_uncertainty,
)


def step_of(model, coarse_logits, fine_features, num_points):
    """(the map after one step, the points' coords)"""
    subdivision = model.subdivision(coarse_logits, fine_features)
    step = subdivision.step(coarse_logits, num_points)
    return subdivision.put(step), step.coords


class TestRefinement:
    @pytest.fixture
    def double_precision(self):
        """So that rounding cannot change which of two points is the more uncertain."""
        paddle.set_default_dtype("float64")
        yield
        paddle.set_default_dtype("float32")

    @pytest.mark.usefixtures("double_precision")
    @pytest.mark.parametrize("num_classes", [2, 5])
    @pytest.mark.parametrize("coarse_in_every_layer", [True, False])
    @pytest.mark.parametrize("points", [[13], [20, 50], [1000, 7, 30]])
    def test_equals_the_slow_algorithm(self, points, coarse_in_every_layer, num_classes):
        coarse, fine = paddle.randn([2, num_classes, 5, 4]), paddle.randn([2, 3, 10, 8])
        head = PointHead(
            3,
            num_classes,
            hidden_channels=8,
            predictor_init_std=1.0,
            coarse_in_every_layer=coarse_in_every_layer,
        )
        model = PointRendSeg(FixedSegmentor(coarse, [fine]), head, num_subdivision_points=points)
        model.eval()
        refined = model(paddle.zeros([2, 3, 19, 15]))
        assert len(refined) == 1
        expected = coarse.numpy()
        for num_points in points:
            expected = slow.subdivide(expected, coarse.numpy(), fine.numpy(), num_points, numpy_head(head))
        expected = slow.resize_bilinear(expected, (19, 15))
        assert np.abs(expected - slow.resize_bilinear(coarse.numpy(), (19, 15))).max() > 0.5
        np.testing.assert_allclose(refined[0].numpy(), expected, rtol=1e-4, atol=1e-4)

    def test_a_step_changes_the_chosen_points_only(self):
        coarse, fine = paddle.randn([2, 4, 6, 7]), paddle.randn([2, 3, 12, 14])
        model = PointRendSeg(FixedSegmentor(coarse, [fine]), {"hidden_channels": 8})
        logits, coords = step_of(model, coarse, [fine], 9)
        doubled = slow.resize_bilinear(coarse.numpy(), (12, 14))
        columns, rows = np.floor(coords.numpy() * [14, 12]).astype(int).transpose(2, 0, 1)
        chosen = np.zeros((2, 12, 14), bool)
        chosen[np.arange(2)[:, None], rows, columns] = True
        assert chosen.sum() == 18
        changed = (np.abs(logits.numpy() - doubled) > 1e-4).any(axis=1)
        np.testing.assert_array_equal(changed, chosen)
        cut = np.sort(slow.uncertainty(doubled).reshape(2, -1))[:, -9]
        assert (slow.uncertainty(doubled)[:, 0][chosen].reshape(2, 9) >= cut[:, None] - 1e-5).all()

    @pytest.mark.parametrize("coarse_in_every_layer", [True, False])
    def test_a_head_that_repeats_the_coarse_logits_changes_nothing(self, coarse_in_every_layer):
        # Zero padding pulls samples towards 0 in the outermost half pixel of the coarse map: left out.
        num_classes = 4
        coarse, fine = paddle.randn([2, num_classes, 8, 6]), paddle.randn([2, 3, 8, 6])
        head = PointHead(3, num_classes, hidden_channels=8, coarse_in_every_layer=coarse_in_every_layer)
        identity = np.eye(num_classes)
        # ReLU lets l and -l through separate channels: relu(l) - relu(-l) = l.
        both = np.concatenate([identity, -identity])
        if coarse_in_every_layer:
            blocks = {head.predictor: (identity, 8)}
        else:
            blocks = {head.layers[0]: (both, 3), head.layers[1]: (np.eye(8), 0)}
            blocks |= {head.layers[2]: (np.eye(8), 0), head.predictor: (both.T, 0)}
        for layer in [*head.layers, head.predictor]:
            weight = np.zeros(layer.weight.shape, "float32")
            if layer in blocks:
                block, first_column = blocks[layer]
                weight[:, first_column:, 0] = block
            layer.weight.set_value(weight)
        model = PointRendSeg(FixedSegmentor(coarse, [fine], 2), head, num_subdivision_points=100_000)
        model.eval()
        refined = model(paddle.zeros([2, 3, 16, 12]))[0].numpy()
        expected = slow.resize_bilinear(coarse.numpy(), (16, 12))
        np.testing.assert_allclose(refined[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-4)

    def test_no_steps_is_the_coarse_prediction(self):
        model = spread_predictor(small_model(subdivision_steps=0))
        model.eval()
        images = paddle.randn([2, 3, 50, 70])
        np.testing.assert_array_equal(model(images)[0].numpy(), model.segmentor(images)[0].numpy())

    def test_each_step_takes_its_number_of_points(self, chosen_points):
        model = small_model(num_subdivision_points=[11, 22, 33])
        model.eval()
        assert list(model(paddle.randn([1, 3, 64, 96]))[0].shape) == [1, 3, 64, 96]
        assert chosen_points == [([1, 1, 32, 48], 11), ([1, 1, 64, 96], 22), ([1, 1, 128, 192], 33)]

    def test_a_threshold_leaves_sure_points_alone(self):
        model = spread_predictor(small_model(num_subdivision_points=[400]))
        model.eval()
        images = paddle.randn([2, 3, 64, 96])
        refined = model(images)[0].numpy()
        _, coarse_logits, fine_features = model.segment(images)
        doubled = F.interpolate(coarse_logits, scale_factor=2, mode="bilinear")
        margins = -calculate_uncertainty(doubled).numpy()
        threshold = float(np.quantile(np.sort(margins.reshape(2, -1))[:, :400], 0.6))
        model.refine_threshold = threshold
        partly, _ = step_of(model, coarse_logits, fine_features, 400)
        model.refine_threshold = None
        fully, _ = step_of(model, coarse_logits, fine_features, 400)
        expected = np.where(margins <= threshold, fully.numpy(), doubled.numpy())
        np.testing.assert_allclose(partly.numpy(), expected, atol=1e-5)
        assert not np.array_equal(partly.numpy(), fully.numpy())
        model.refine_threshold = 1e9
        np.testing.assert_array_equal(model(images)[0].numpy(), refined)
        with pytest.raises(ValueError, match=r"refine_threshold must be at least 0, .* got -1"):
            small_model(refine_threshold=-1)

    @pytest.mark.parametrize(
        "options",
        [{}, {"refine_threshold": 0.05}, {"size_divisor": 32}, {"subdivision_steps": 0}, {"subdivision_steps": 5}],
    )
    @pytest.mark.parametrize("size", [(64, 96), (50, 70)])
    def test_labels_are_the_best_classes(self, options, size):
        model = spread_predictor(small_model(5, num_subdivision_points=300, **options))
        model.eval()
        images = paddle.randn([2, 3, *size])
        labels = model.predict_labels(images)
        assert labels.dtype == paddle.int64
        expected = model(images)[0].numpy().argmax(axis=1)
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(labels.numpy(), expected)

    @pytest.mark.parametrize(("coarse_stride", "steps"), [(1, 1), (2, 1), (4, 2), (8, 3), (32, 5)])
    def test_by_default_the_steps_reach_the_inputs_size(self, coarse_stride, steps):
        segmentor = FixedSegmentor(paddle.zeros([1, 2, 4, 4]), [paddle.zeros([1, 3, 4, 4])], coarse_stride)
        assert PointRendSeg(segmentor).num_subdivision_points == [8192] * steps

    @pytest.mark.parametrize("size", [(64, 64), (97, 130), (33, 50), (5, 7)])
    def test_any_size_also_with_fewer_pixels_than_points(self, size):
        model = spread_predictor(small_model(num_subdivision_points=8192))
        model.eval()
        refined = model(paddle.randn([2, 3, *size]))[0]
        assert list(refined.shape) == [2, 3, *size]
        assert bool(paddle.isfinite(refined).all())

    @pytest.mark.parametrize("num_classes", [1, 2, 19, 150])
    def test_number_of_classes(self, num_classes):
        model = small_model(num_classes)
        images = paddle.randn([2, 3, 40, 64])
        assert list(model(images)[1][0].shape) == [2, num_classes, 20]
        model.eval()
        assert list(model(images)[0].shape) == [2, num_classes, 40, 64]

    def test_predict_both_is_the_segmentors_and_the_models_output(self):
        model = spread_predictor(small_model(5))
        model.eval()
        images = paddle.randn([2, 3, 45, 66])
        coarse, refined = model.predict_both(images)
        np.testing.assert_array_equal(coarse.numpy(), model.segmentor(images)[0].numpy())
        np.testing.assert_array_equal(refined.numpy(), model(images)[0].numpy())
        assert np.abs(coarse.numpy() - refined.numpy()).max() > 0.1

    @pytest.mark.parametrize("size", [(45, 66), (64, 70), (40, 64)])
    def test_size_divisor_pads_with_zeros_and_cuts_the_logits_back(self, size):
        model = spread_predictor(small_model(4, size_divisor=32))
        model.eval()
        images = paddle.randn([2, 3, *size])
        padded = np.zeros([2, 3, 64, 96 if size[1] > 64 else 64], "float32")
        padded[:, :, : size[0], : size[1]] = images.numpy()
        coarse, refined = (
            logits.numpy()[:, :, : size[0], : size[1]] for logits in model.predict_both(paddle.to_tensor(padded))
        )
        for logits, expected in zip(model.predict_both(images), (coarse, refined)):
            np.testing.assert_array_equal(logits.numpy(), expected)
        np.testing.assert_array_equal(model(images)[0].numpy(), refined)

    def test_size_divisor_must_divide_training_images(self):
        model = small_model(4, size_divisor=32)
        assert list(model(paddle.randn([2, 3, 64, 96]))[0].shape) == [2, 4, 64, 96]
        with pytest.raises(ValueError, match=r"size_divisor is 32, but the training images are \[64, 97\]; crop"):
            model(paddle.randn([2, 3, 64, 97]))
        with pytest.raises(ValueError, match="whole number of at least 1, got 0"):
            small_model(size_divisor=0)

    def test_images_of_a_batch_do_not_see_each_other(self):
        model = spread_predictor(small_model(4))
        model.eval()
        images = paddle.randn([3, 3, 48, 64])
        together = model(images)[0].numpy()
        alone = model(images[1:2])[0].numpy()
        # Not equal throughout: one image's convolutions may round otherwise than three's and swap two points.
        assert np.isclose(together[1:2], alone, atol=1e-3).mean() > 0.99
