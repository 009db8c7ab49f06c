import copy

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn
from paddleseg.core.train import loss_computation
from paddleseg.models import DeepLabV3P, MscaleOCRNet
from paddleseg.models.backbones import HRNet_W18_Small_V1, ResNet18_vd
from paddleseg.models.losses import CrossEntropyLoss
from paddleseg.utils.ema import init_ema_params, update_ema_model
from tiny_backbone import TinyBackbone

from paddle_pointrend import PointRendSeg, PointSampledCrossEntropyLoss
from paddle_pointrend.models.taps import Taps


class TinyHost(nn.Layer):
    """Logits at stride 4 and auxiliary ones at stride 8, both upsampled; the auxiliary ones in training only."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.backbone = TinyBackbone()
        self.norm = nn.BatchNorm2D(3)
        self.head, self.auxiliary = nn.Conv2D(3, num_classes, 1), nn.Conv2D(4, num_classes, 1)

    def forward(self, x):
        maps = self.backbone(x)
        logits = [self.head(self.norm(maps[0]))]
        if self.training:
            logits.append(self.auxiliary(maps[1]))
        return [F.interpolate(one, size=x.shape[2:], mode="bilinear", align_corners=False) for one in logits]


class FullHost(nn.Layer):
    """Logits at full size, as UNet's."""

    def __init__(self):
        super().__init__()
        self.first, self.down, self.head = nn.Conv2D(3, 4, 3, padding=1), nn.Conv2D(4, 4, 2, 2), nn.Conv2D(8, 3, 1)

    def forward(self, x):
        fine = self.first(x)
        return [self.head(paddle.concat([fine, F.interpolate(self.down(fine), size=x.shape[2:])], axis=1))]


def spread(model):
    model.point_head.predictor.weight.set_value(paddle.randn(model.point_head.predictor.weight.shape))
    model.eval()
    return model


class TestMeasuring:
    def test_finds_the_maps(self):
        taps = Taps(TinyHost())
        assert (taps.coarse, taps.coarse_stride, taps.num_classes, taps.in_channels) == ("head", 4, 3, 3)
        assert (taps.fine, taps.fine_channels, taps.fine_strides) == (["backbone[0]"], [3], [4])

    def test_leaves_no_trace(self):
        class Drawing(TinyHost):
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
        host = TinyHost()
        host.backbone.stem = nn.Conv2D(1, 3, 3, stride=2, padding=1)
        assert Taps(host).in_channels == 1
        with pytest.raises(ValueError, match="images have 3 channels, the segmentor takes 1"):
            PointRendSeg(host, in_channels=3)

    def test_a_bare_tensor_as_output(self):
        class Bare(TinyHost):
            def forward(self, x):
                return super().forward(x)[0]

        model = spread(PointRendSeg(Bare()))
        images = paddle.randn([1, 3, 40, 50])
        coarse, refined = model.predict_both(images)
        np.testing.assert_array_equal(coarse.numpy(), model.segmentor(images).numpy())
        np.testing.assert_array_equal(refined.numpy(), model(images)[0].numpy())

    def test_other_taps(self):
        taps = Taps(TinyHost(), coarse="head", fine=["backbone.stem", "backbone[0]", "backbone[1]"])
        assert (taps.fine_channels, taps.fine_strides) == ([3, 3, 4], [2, 4, 8])
        assert Taps(TinyHost(), fine="backbone[1]").fine == ["backbone[1]"]


class TestFullSize:
    def test_predicts_again_once_without_doubling(self):
        model = spread(PointRendSeg(FullHost(), num_subdivision_points=100))
        assert (model.taps.coarse, model.taps.coarse_stride, model.taps.fine) == ("head", 1, ["first"])
        coarse, refined = model.predict_both(paddle.randn([1, 3, 33, 47]))
        changed = (np.abs((coarse - refined).numpy()) > 1e-6).any(axis=1)
        assert 90 <= changed.sum() <= 100

    def test_refines_on_a_finer_grid_on_request(self, chosen_points):
        model = spread(PointRendSeg(FullHost(), num_subdivision_points=100, subdivision_steps=1))
        assert list(model(paddle.randn([1, 3, 33, 47]))[0].shape) == [1, 3, 33, 47]
        assert chosen_points == [([1, 1, 66, 94], 100)]

    def test_no_steps(self):
        model = spread(PointRendSeg(FullHost(), subdivision_steps=0))
        coarse, refined = model.predict_both(paddle.randn([1, 3, 33, 47]))
        np.testing.assert_array_equal(coarse.numpy(), refined.numpy())


class TestTraining:
    def test_the_hosts_trainer_takes_a_loss_for_each_output(self):
        model = PointRendSeg(TinyHost())
        types = [CrossEntropyLoss(), CrossEntropyLoss(), PointSampledCrossEntropyLoss()]
        logits = model(paddle.randn([2, 3, 64, 64]))
        labels = paddle.randint(0, 3, [2, 64, 64])
        values = loss_computation(logits, labels, None, {"types": types, "coef": [1, 0.4, 1]})
        sum(values).sum().backward()
        for layer in (model.segmentor.head, model.segmentor.auxiliary, model.segmentor.backbone.stem, model.point_head):
            assert all(p.grad is not None for p in layer.parameters())

    def test_frozen_also_inside_another_layer(self):
        model = PointRendSeg(TinyHost(), freeze_segmentor=True)
        around = nn.Sequential(model)
        around.train()
        statistics = model.segmentor.norm._mean.numpy().copy()
        assert len(around(paddle.randn([2, 3, 64, 64]))) == 1
        np.testing.assert_array_equal(model.segmentor.norm._mean.numpy(), statistics)
        assert model.train() is model
        assert model.point_head.training and not model.segmentor.training

    def test_copies_are_independent(self):
        model = PointRendSeg(TinyHost())
        model(paddle.randn([2, 3, 64, 64]))
        other = copy.deepcopy(model)
        other.eval()
        other.point_head.predictor.bias.set_value(paddle.ones([3]))
        assert list(other(paddle.randn([1, 3, 40, 50]))[0].shape) == [1, 3, 40, 50]
        assert float(model.point_head.predictor.bias.sum()) == 0

    @pytest.mark.parametrize("frozen", [True, False])
    def test_paddlesegs_moving_average(self, frozen):
        model = PointRendSeg(TinyHost(), freeze_segmentor=frozen)
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
        model = PointRendSeg(TinyHost(), freeze_segmentor=frozen)
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


@pytest.fixture(scope="module", name="host")
def deeplab():
    return DeepLabV3P(5, ResNet18_vd(output_stride=16))


class TestErrors:
    MAPS = (
        r"the maps of DeepLabV3P are backbone\[0\] \(64 channels, stride 4\), "
        r"backbone\[1\] \(128 channels, stride 8\), .*, head\[0\] \(5 channels, stride 4\), and others further inside; "
        r"write for example taps: {fine: \[\"backbone\[0\]\"\]}"
    )

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("backbon", "there is no sublayer 'backbon' that DeepLabV3P calls"),
            ("backbone[0", r"there is no sublayer 'backbone\[0'"),
            (3, "there is no sublayer 3"),
            ("backbone", "'backbone' is no map"),
            ("backbone[4]", r"'backbone\[4\]' is no map"),
            ("head.aspp.global_avg_pool.0", "'head.aspp.global_avg_pool.0' is no map"),
        ],
    )
    def test_fine(self, host, path, reason):
        with pytest.raises(ValueError, match=f"taps.fine: {reason}.*; {self.MAPS}") as error:
            PointRendSeg(host, taps={"fine": [path]})
        assert str(error.value).count("channels, stride") == 5

    @pytest.mark.parametrize("fine", [[], ["backbone[1]", "backbone[0]"]])
    def test_number_and_order_of_fine_maps(self, host, fine):
        with pytest.raises(ValueError, match=rf"expected one map or more, fine -> coarse; {self.MAPS}"):
            PointRendSeg(host, taps={"fine": fine})

    def test_coarse(self, host):
        maps = (
            r"the maps of DeepLabV3P of as many channels as classes are head\[0\] \(5 channels, stride 4\); "
            r"write for example taps: {coarse: \"head\[0\]\"}"
        )
        with pytest.raises(ValueError, match=rf"taps.coarse: there is no sublayer 'heads' that .*; {maps}"):
            PointRendSeg(host, taps={"coarse": "heads"})
        message = r"taps.coarse: 'backbone\[1\]' has 128 channels, but DeepLabV3P predicts 5 classes"
        with pytest.raises(ValueError, match=f"{message}; {maps}"):
            PointRendSeg(host, taps={"coarse": "backbone[1]"})

    @pytest.mark.parametrize("taps", [{"corse": "head[0]"}, {1: 2}, "head[0]", ["head[0]"]])
    def test_other_keys(self, host, taps):
        with pytest.raises(ValueError, match=r"taps takes coarse: PATH and fine: \[PATH, ...\], got .*(corse|1|head)"):
            PointRendSeg(host, taps=taps)

    def test_a_map_that_is_no_exact_stride(self):
        host = TinyHost()
        host.auxiliary = nn.Conv2D(3, 3, 2)
        host.head = nn.Sequential(host.head, nn.Identity())
        forward = host.forward
        host.forward = lambda x: (host.auxiliary(host.backbone.stem(x)), forward(x))[1]
        with pytest.raises(ValueError, match=r"taps.fine: 'auxiliary' is no map \[N, C, H, W\] of a whole stride"):
            Taps(host, fine=["auxiliary"])

    def test_the_same_everywhere(self):
        host = TinyHost()
        host.head.weight.set_value(paddle.zeros_like(host.head.weight))
        assert Taps(host).coarse == "head"
        host.auxiliary.weight.set_value(paddle.zeros_like(host.auxiliary.weight))
        forward = host.forward
        host.forward = lambda x: (host.auxiliary(host.backbone(x)[1]), forward(x))[1]
        with pytest.raises(ValueError, match=r'TinyHost predicts the same everywhere.*: {coarse: "head"}'):
            Taps(host)
        assert Taps(host, coarse="head").coarse_stride == 4

    @pytest.mark.parametrize(
        ("host", "message"),
        [
            (nn.Linear(2, 3), r"Linear does not run on images of \[1, 3, 128, 192\], so its maps cannot be measured: "),
            (nn.Flatten(), r"Flatten returns a tensor of \[1, 73728\] for images .*, expected logits \[N, K, H, W\]"),
            (nn.Identity(), "Identity has no sublayer that is called once and yields a map"),
        ],
    )
    def test_a_layer_that_is_no_segmentor(self, host, message):
        with pytest.raises(ValueError, match=message):
            PointRendSeg(host)

    @pytest.mark.parametrize(
        ("change", "returns"),
        [
            (lambda outputs: {"logits": outputs[0]}, "a dict"),
            (lambda outputs: [], "a list of nothing"),
            (lambda outputs: [{"out": outputs[0]}], "a list of a dict"),
            (lambda outputs: outputs[0].argmax(axis=1), r"a tensor of \[1, 128, 192\]"),
            (lambda outputs: [outputs[0][:, :, 1:]], r"a list of a tensor of \[1, 3, 127, 192\]"),
        ],
    )
    def test_outputs_that_are_no_logits(self, change, returns):
        host = TinyHost()
        forward = host.forward
        host.forward = lambda x: change(forward(x))
        with pytest.raises(ValueError, match=f"TinyHost returns {returns} for images of .*, expected logits"):
            PointRendSeg(host)

    def test_no_logits_in_training(self):
        class Masks(FullHost):
            def forward(self, x):
                logits = super().forward(x)
                return [{"masks": logits[0]}] if self.training else [-logits[0]]

        with pytest.raises(ValueError, match=r"Masks returns a list of a dict in training.*set freeze_segmentor: true"):
            PointRendSeg(Masks())(paddle.randn([1, 3, 32, 32]))
        frozen = PointRendSeg(Masks(), freeze_segmentor=True)
        assert len(frozen(paddle.randn([1, 3, 32, 32]))) == 1

    def test_a_sublayer_that_training_does_not_call_once(self):
        class Other(TinyHost):
            times = 0

            def forward(self, x):
                for _ in range(self.times if self.training else 1):
                    self.backbone(x)
                return super().forward(x)

        host = Other()
        with pytest.raises(ValueError, match=r"taps.fine: 'backbone' is called 2 times"):
            PointRendSeg(host, taps={"fine": ["backbone[0]"]})
        model = PointRendSeg(TinyHost(), taps={"fine": ["norm"]})
        model.segmentor.forward = lambda x: [model.segmentor.head(x)]
        with pytest.raises(ValueError, match="TinyHost called 'norm' 0 times in training, expected once"):
            model(paddle.randn([1, 3, 32, 32]))

    def test_a_model_of_several_passes(self):
        host = MscaleOCRNet(5, HRNet_W18_Small_V1(), backbone_indices=[0])
        with pytest.raises(ValueError, match="MscaleOCRNet has no sublayer that is called once"):
            PointRendSeg(host)
