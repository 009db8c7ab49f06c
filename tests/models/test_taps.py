"""PointRendSeg on models that know nothing of it: what Taps finds, and training and prediction with it."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn
from paddleseg.core.train import loss_computation
from paddleseg.models.losses import CrossEntropyLoss
from paddleseg.utils.ema import init_ema_params, update_ema_model
from tiny_segmentors import FullSizeSegmentor, TinySegmentor

from paddle_pointrend import PointRendSeg, PointSampledCrossEntropyLoss
from paddle_pointrend.models.taps import Taps


def spread(model):
    model.point_head.predictor.weight.set_value(paddle.randn(model.point_head.predictor.weight.shape))
    model.eval()
    return model


class TestMeasuring:
    def test_finds_the_maps(self):
        taps = Taps(TinySegmentor())
        assert (taps.coarse, taps.coarse_stride, taps.num_classes, taps.in_channels) == ("head", 4, 3, 3)
        assert (taps.fine, taps.fine_channels, taps.fine_strides) == (["backbone[0]"], [3], [4])

    def test_leaves_no_trace(self):
        class Drawing(TinySegmentor):
            def forward(self, x):
                paddle.rand([1])
                return super().forward(x)

        host = Drawing()
        host.train()
        host.norm.eval()
        before = {name: value.numpy().copy() for name, value in host.state_dict().items()}
        paddle.seed(3)
        expected = paddle.rand([4]).numpy()
        paddle.seed(3)
        Taps(host)
        np.testing.assert_array_equal(paddle.rand([4]).numpy(), expected)
        assert host.training and host.head.training and not host.norm.training
        for name, value in host.state_dict().items():
            np.testing.assert_array_equal(value.numpy(), before[name])
        assert not any(layer._forward_post_hooks for layer in host.sublayers())

    def test_images_of_as_many_channels_as_the_first_convolution_takes(self):
        host = TinySegmentor()
        host.backbone.stem = nn.Conv2D(1, 3, 3, stride=2, padding=1)
        assert Taps(host).in_channels == 1
        with pytest.raises(ValueError, match="images have 3 channels, the segmentor takes 1"):
            PointRendSeg(host, in_channels=3)

    def test_a_bare_tensor_as_output(self):
        class Bare(TinySegmentor):
            def forward(self, x):
                return super().forward(x)[0]

        model = spread(PointRendSeg(Bare()))
        images = paddle.randn([1, 3, 40, 50])
        coarse, refined = model.predict_both(images)
        np.testing.assert_array_equal(coarse.numpy(), model.segmentor(images).numpy())
        np.testing.assert_array_equal(refined.numpy(), model(images)[0].numpy())

    def test_other_taps(self):
        taps = Taps(TinySegmentor(), coarse="head", fine=["backbone.stem", "backbone[0]", "backbone[1]"])
        assert (taps.fine_channels, taps.fine_strides) == ([3, 3, 4], [2, 4, 8])
        assert Taps(TinySegmentor(), fine="backbone[1]").fine == ["backbone[1]"]


class TestFullSize:
    def test_predicts_again_once_without_doubling(self):
        model = spread(PointRendSeg(FullSizeSegmentor(), num_subdivision_points=100))
        assert (model.taps.coarse, model.taps.coarse_stride, model.taps.fine) == ("head", 1, ["first"])
        coarse, refined = model.predict_both(paddle.randn([1, 3, 33, 47]))
        changed = (np.abs((coarse - refined).numpy()) > 1e-6).any(axis=1)
        assert 90 <= changed.sum() <= 100

    def test_refines_on_a_finer_grid_on_request(self, chosen_points):
        model = spread(PointRendSeg(FullSizeSegmentor(), num_subdivision_points=100, subdivision_steps=1))
        assert list(model(paddle.randn([1, 3, 33, 47]))[0].shape) == [1, 3, 33, 47]
        assert chosen_points == [([1, 1, 66, 94], 100)]

    def test_no_steps(self):
        model = spread(PointRendSeg(FullSizeSegmentor(), subdivision_steps=0))
        coarse, refined = model.predict_both(paddle.randn([1, 3, 33, 47]))
        np.testing.assert_array_equal(coarse.numpy(), refined.numpy())


class TestTraining:
    def test_paddlesegs_trainer_takes_a_loss_for_each_output(self):
        model = PointRendSeg(TinySegmentor())
        types = [CrossEntropyLoss(), CrossEntropyLoss(), PointSampledCrossEntropyLoss()]
        logits = model(paddle.randn([2, 3, 64, 64]))
        labels = paddle.randint(0, 3, [2, 64, 64])
        values = loss_computation(logits, labels, None, {"types": types, "coef": [1, 0.4, 1]})
        sum(values).sum().backward()
        for layer in (model.segmentor.head, model.segmentor.auxiliary, model.segmentor.backbone.stem, model.point_head):
            assert all(p.grad is not None for p in layer.parameters())

    def test_frozen_also_inside_another_layer(self):
        model = PointRendSeg(TinySegmentor(), freeze_segmentor=True)
        around = nn.Sequential(model)
        around.train()
        statistics = model.segmentor.norm._mean.numpy().copy()
        assert len(around(paddle.randn([2, 3, 64, 64]))) == 1
        np.testing.assert_array_equal(model.segmentor.norm._mean.numpy(), statistics)
        assert model.train() is model
        assert model.point_head.training and not model.segmentor.training

    def test_copies_are_independent(self):
        model = PointRendSeg(TinySegmentor())
        model(paddle.randn([2, 3, 64, 64]))
        other = copy.deepcopy(model)
        other.eval()
        other.point_head.predictor.bias.set_value(paddle.ones([3]))
        assert list(other(paddle.randn([1, 3, 40, 50]))[0].shape) == [1, 3, 40, 50]
        assert float(model.point_head.predictor.bias.sum()) == 0

    @pytest.mark.parametrize("frozen", [True, False])
    def test_paddlesegs_moving_average(self, frozen):
        model = PointRendSeg(TinySegmentor(), freeze_segmentor=frozen)
        average = copy.deepcopy(model)
        average.eval()
        model.train()
        init_ema_params(average, model)
        optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
        for step in (1, 2):
            sum(t.square().mean() for t in (*model(paddle.randn([2, 3, 64, 64]))[:-1], paddle.zeros([1]))).backward()
            model(paddle.randn([2, 3, 64, 64]))[-1][0].square().mean().backward()
            optimizer.step()
            model.clear_gradients()
            update_ema_model(average, model, step=step)
        images = paddle.randn([1, 3, 64, 64])
        assert bool(paddle.isfinite(average(images)[0]).all())
        weight = average.segmentor.head.weight.numpy()
        assert np.allclose(weight, model.segmentor.head.weight.numpy(), atol=1e-6) == frozen

    @pytest.mark.parametrize("frozen", [True, False])
    def test_mixed_precision(self, frozen):
        model = PointRendSeg(TinySegmentor(), freeze_segmentor=frozen)
        model.train()
        with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
            outputs = model(paddle.randn([2, 3, 64, 64]))
            loss = outputs[-1][0].astype("float32").square().mean()
        loss.backward()
        assert all(p.grad is not None and bool(paddle.isfinite(p.grad).all()) for p in model.point_head.parameters())
        model.eval()
        with paddle.no_grad(), paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
            coarse, refined = model.predict_both(paddle.randn([1, 3, 40, 50]))
        assert list(coarse.shape) == list(refined.shape) == [1, 3, 40, 50]
