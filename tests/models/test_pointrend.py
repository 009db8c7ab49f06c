"""PointRendSeg in training, as a static graph, and the mistakes that it refuses."""

import numpy as np
import paddle
import pytest
import slow_references as slow
from paddleseg.core.train import loss_computation
from paddleseg.models.losses import CrossEntropyLoss
from tiny_backbone import TinyBackbone
from tiny_pointrend import FixedSegmentor, numpy_head, small_model, spread_predictor

from paddle_pointrend import (
    PointHead,
    PointRendSeg,
    PointSampledCrossEntropyLoss,
    SemanticFPN,
)


class TestTraining:
    def test_two_outputs_one_for_each_loss_type(self):
        model = small_model(5)
        outputs = model(paddle.randn([2, 3, 64, 96]))
        assert len(outputs) == 2
        coarse, (point_logits, point_coords) = outputs
        assert list(coarse.shape) == [2, 5, 64, 96]
        assert list(point_logits.shape) == [2, 5, 20]
        assert list(point_coords.shape) == [2, 20, 2]

    def test_point_logits_are_the_heads_at_the_sampled_maps(self):
        coarse, fine = paddle.randn([2, 3, 6, 8]), [paddle.randn([2, 4, 12, 16]), paddle.randn([2, 2, 6, 8])]
        head = PointHead(6, 3, hidden_channels=8, predictor_init_std=1.0)
        model = PointRendSeg(FixedSegmentor(coarse, fine), head, num_train_points=15)
        full, (point_logits, coords) = model(paddle.zeros([2, 3, 23, 30]))
        np.testing.assert_allclose(full.numpy(), slow.resize_bilinear(coarse.numpy(), (23, 30)), atol=1e-4)
        sampled = [slow.point_sample(features.numpy(), coords.numpy()) for features in [*fine, coarse]]
        expected = numpy_head(head)(np.concatenate(sampled[:2], axis=1), sampled[2])
        np.testing.assert_allclose(point_logits.numpy(), expected, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("which", ["coarse", "points"])
    def test_gradients_reach_segmentor_and_point_head(self, which):
        model = small_model()
        coarse, (point_logits, _) = model(paddle.randn([2, 3, 64, 64]))
        (coarse if which == "coarse" else point_logits).square().sum().backward()
        reached = {name for name, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().sum())}
        for name in (
            "segmentor.backbone.stem.weight",
            "segmentor.fpn.laterals.0.weight",
            "segmentor.head.classifier.weight",
        ):
            assert name in reached
        assert ("point_head.layers.0.weight" in reached) == (which == "points")
        assert ("point_head.predictor.bias" in reached) == (which == "points")

    def test_the_hosts_trainer_takes_the_outputs_and_the_losses_fall(self):
        model = spread_predictor(small_model(3))
        losses = {"types": [CrossEntropyLoss(), PointSampledCrossEntropyLoss()], "coef": [1, 1]}
        optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
        label = (paddle.arange(64) // 24).expand([2, 64, 64])
        images = label.astype("float32").unsqueeze(1).expand([2, 3, 64, 64])
        history = []
        for _ in range(25):
            values = loss_computation(logits_list=model(images), labels=label, edges=None, losses=losses)
            assert len(values) == 2
            sum(values).sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            history.append([value.item() for value in values])
        start, end = np.mean(history[:3], axis=0), np.mean(history[-3:], axis=0)
        assert (end < 0.7 * start).all()

    @pytest.mark.parametrize("full_graph", [True, False])  # False is what PaddleSeg's --to_static_training asks for
    def test_to_static_draws_new_points_each_time(self, full_graph):
        model = paddle.jit.to_static(small_model(), full_graph=full_graph)
        model.train()
        images = paddle.randn([2, 3, 64, 64])
        (coarse, (point_logits, first)), (_, (_, second)) = model(images), model(images)
        assert list(coarse.shape) == [2, 3, 64, 64]
        assert (first.numpy() != second.numpy()).any()
        point_logits.square().sum().backward()
        assert float(model.segmentor.fpn.laterals[0].weight.grad.abs().sum()) > 0


class TestStatic:
    @pytest.mark.parametrize(("head_levels", "size_divisor"), [(None, 1), ((1, 2, 3), 1), (None, 32)])
    def test_evaluation_with_dynamic_sizes_equals_eager(self, tmp_path, head_levels, size_divisor):
        segmentor = SemanticFPN(4, TinyBackbone(), head_levels=head_levels, fpn_channels=8, head_channels=8)
        options = {"num_subdivision_points": 200, "size_divisor": size_divisor}
        model = spread_predictor(PointRendSeg(segmentor, {"hidden_channels": 8}, **options))
        model.eval()
        # The first map is smaller than the number of points, the others are larger.
        batches = [paddle.randn([n, 3, *size]) for n, size in ((1, (20, 20)), (2, (97, 130)), (3, (64, 64)))]
        expected = [model(images)[0].numpy() for images in batches]
        static = paddle.jit.to_static(
            model, input_spec=[paddle.static.InputSpec([None, 3, None, None], "float32")], full_graph=True
        )
        path = str(tmp_path / "model")
        paddle.jit.save(static, path)
        loaded = paddle.jit.load(path)
        loaded.eval()
        for images, eager in zip(batches, expected):
            np.testing.assert_allclose(static(images)[0].numpy(), eager, atol=1e-4)
            outputs = loaded(images)
            output = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
            np.testing.assert_allclose(output.numpy(), eager, atol=1e-4)


class TestErrors:
    def test_class_counts_that_differ(self):
        segmentor = SemanticFPN(3, TinyBackbone(), fpn_channels=8)
        with pytest.raises(ValueError, match="num_classes is 4 for PointRendSeg and 3 for its segmentor"):
            PointRendSeg(segmentor, num_classes=4)
        with pytest.raises(ValueError, match="the point head predicts 5 classes, the segmentor 3"):
            PointRendSeg(segmentor, PointHead(8, 5))

    def test_a_point_head_for_other_features(self):
        segmentor = SemanticFPN(3, TinyBackbone(), fpn_channels=8)
        with pytest.raises(ValueError, match=r"takes 9 channels, .* have \[8\]; build it with in_channels=8"):
            PointRendSeg(segmentor, PointHead(9, 3))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"subdivision_steps": -1}, "at least 0, got -1"),
            ({"num_subdivision_points": 0}, "got 0"),
            ({"num_subdivision_points": [5, 0]}, r"got \[5, 0\]"),
            ({"num_subdivision_points": [5, 6], "subdivision_steps": 3}, r"a list of 3 such numbers, .* got \[5, 6\]"),
        ],
    )
    def test_steps_and_points(self, options, message):
        with pytest.raises(ValueError, match=message):
            small_model(**options)


def test_images_of_other_channels_than_the_segmentors_are_refused():
    backbone = TinyBackbone()
    segmentor = SemanticFPN(3, backbone, fpn_channels=8, head_channels=8)
    assert segmentor.in_channels == 3
    PointRendSeg(segmentor, in_channels=3)
    with pytest.raises(ValueError, match=r"images have 1 channels, the segmentor takes 3; set in_channels: 1"):
        PointRendSeg(segmentor, in_channels=1)


@pytest.mark.parametrize(
    "options", [{"num_train_points": 1e2}, {"num_subdivision_points": 1e2}, {"oversample_ratio": 0.5}]
)
def test_options_are_checked_when_the_model_is_built(options):
    segmentor = SemanticFPN(3, TinyBackbone(), fpn_channels=8, head_channels=8)
    with pytest.raises(ValueError, match=r"must be"):
        PointRendSeg(segmentor, **options)
