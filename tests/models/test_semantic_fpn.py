import numpy as np
import paddle
import pytest
import slow_references as slow
from paddle import nn
from paddleseg.models import backbones
from tiny_backbone import TinyBackbone

from paddle_pointrend import FPN, SemanticFPN
from paddle_pointrend.models.backbones import measure_backbone


def randomise(layer):
    """Parameters and batch statistics as training could leave them; evaluation mode."""
    for name, tensor in layer.state_dict().items():
        values = paddle.randn(tensor.shape) * 0.5
        tensor.set_value(values.abs() + 0.5 if name.endswith("_variance") else values)
    layer.eval()
    return layer


def arrays(tensors):
    return [tensor.numpy() for tensor in tensors]


def slow_fpn(fpn, maps):
    maps = [slow.convolve(m, *arrays([conv.weight, conv.bias])) for m, conv in zip(maps, fpn.laterals)]
    for fine in (2, 1, 0):
        maps[fine] = maps[fine] + slow.resize_nearest(maps[fine + 1], maps[fine].shape[2:])
    return [slow.convolve(m, *arrays([conv.weight, conv.bias])) for m, conv in zip(maps, fpn.outputs)]


def slow_norm(x, norm):
    if isinstance(norm, nn.GroupNorm):
        grouped = x.reshape(len(x), 32, -1)
        mean, variance = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True)
        normal = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    else:
        mean, variance = (a.numpy().reshape(1, -1, 1, 1) for a in (norm._mean, norm._variance))
        normal = (x - mean) / np.sqrt(variance + 1e-5)
    weight, bias = (a.numpy().reshape(1, -1, 1, 1) for a in (norm.weight, norm.bias))
    return normal * weight + bias


def slow_head(head, levels, doublings):
    """doublings: how often each level's branch doubles it; the first level is the finest."""
    total = 0
    for branch, level, count in zip(head.branches, levels, doublings):
        convs = [layer for layer in branch if isinstance(layer, nn.Conv2D)]
        norms = [layer for layer in branch if isinstance(layer, (nn.BatchNorm2D, nn.GroupNorm))]
        assert len(convs) == len(norms) == max(1, count)
        for conv, norm in zip(convs, norms):
            level = np.maximum(slow_norm(slow.convolve(level, conv.weight.numpy()), norm), 0)
            if count:
                level = slow.resize_bilinear(level, (2 * level.shape[2], 2 * level.shape[3]))
        total = total + slow.resize_bilinear(level, levels[0].shape[2:])
    return slow.convolve(total, *arrays([head.classifier.weight, head.classifier.bias]))


class TestFPN:
    @pytest.mark.parametrize("sizes", [[(16, 24), (8, 12), (4, 6), (2, 3)], [(13, 9), (7, 5), (4, 3), (2, 2)]])
    def test_equals_numpy(self, sizes):
        fpn = randomise(FPN([3, 4, 5, 6], [4, 8, 16, 32], out_channels=7))
        maps = [paddle.randn([2, channels, *size]) for channels, size in zip([3, 4, 5, 6], sizes)]
        outputs = fpn(maps)
        for output, expected in zip(outputs, slow_fpn(fpn, arrays(maps))):
            np.testing.assert_allclose(output.numpy(), expected, rtol=1e-3, atol=1e-3)

    def test_inputs_stay_as_they_were(self):
        fpn = FPN([3, 3], [4, 8])
        maps = [paddle.ones([1, 3, 4, 4]), paddle.ones([1, 3, 2, 2])]
        fpn(maps)
        assert all(bool((m == 1).all()) for m in maps)

    def test_starts_glorot_uniform_with_zero_biases(self):
        fpn = FPN([64, 512], [4, 8], out_channels=256)
        for conv, fan_in, fan_out in (
            (fpn.laterals[1], 512, 256),
            (fpn.outputs[0], 9 * 256, 9 * 256),
        ):
            limit = (6 / (fan_in + fan_out)) ** 0.5
            weight = conv.weight.numpy()
            assert limit * 0.99 < np.abs(weight).max() <= limit
            assert weight.std() == pytest.approx(limit / 3**0.5, rel=0.02)
            assert (conv.bias.numpy() == 0).all()

    def test_c2_xavier_starts_within_caffe2s_bounds(self):
        fpn = FPN([64, 512], [4, 8], out_channels=256, init="c2_xavier")
        for conv, fan_in in ((fpn.laterals[1], 512), (fpn.outputs[0], 9 * 256)):
            limit = (3 / fan_in) ** 0.5
            weight = conv.weight.numpy()
            assert limit * 0.99 < np.abs(weight).max() <= limit
            assert weight.std() == pytest.approx(limit / 3**0.5, rel=0.02)
        with pytest.raises(ValueError, match="one of xavier, c2_xavier, got 'zeros'"):
            FPN([64], [4], init="zeros")

    def test_maps_from_coarse_to_fine_are_refused(self):
        fpn = FPN([3, 3, 3, 3], [4, 8, 16, 32])
        maps = [paddle.zeros([1, 3, size, size]) for size in (32, 16, 8, 4)]
        fpn(maps)
        with pytest.raises(ValueError, match=r"fine to coarse with strides \[4, 8, 16, 32\], got sizes \[\[4, 4\]"):
            fpn(maps[::-1])
        with pytest.raises(ValueError, match="fine to coarse"):
            fpn([maps[0], maps[2], maps[1], maps[3]])
        with pytest.raises(ValueError, match=r"expected 4 maps .* got 3"):
            fpn(maps[:3])

    @pytest.mark.parametrize(
        ("channels", "strides", "message"),
        [
            ([3, 3], [8, 4], r"fine to coarse, got strides \[8, 4\]"),
            ([3, 3], [4], "one stride is needed"),
            ([], [], "one stride"),
        ],
    )
    def test_wrong_levels(self, channels, strides, message):
        with pytest.raises(ValueError, match=message):
            FPN(channels, strides)


class TestSemanticFPN:
    @pytest.mark.parametrize("size", [(64, 96), (37, 50)])
    @pytest.mark.parametrize(
        ("head_levels", "doublings"),
        [(None, (0, 1, 2, 3)), ((1, 2, 3), (0, 1, 2)), ((0, 2), (0, 2)), ((3,), (0,))],
    )
    def test_equals_numpy(self, head_levels, doublings, size):
        model = randomise(SemanticFPN(5, TinyBackbone(), head_levels=head_levels, fpn_channels=8, head_channels=6))
        x = paddle.randn([2, 3, *size])
        coarse, fine = model.forward_features(x)
        pyramid = slow_fpn(model.fpn, arrays(model.backbone(x)))
        levels = pyramid if head_levels is None else [pyramid[i] for i in head_levels]
        expected = slow_head(model.head, levels, doublings)
        np.testing.assert_allclose(coarse.numpy(), expected, rtol=1e-3, atol=2e-3)
        assert len(fine) == 1
        np.testing.assert_allclose(fine[0].numpy(), pyramid[0], rtol=1e-3, atol=1e-3)
        (output,) = model(x)
        np.testing.assert_allclose(output.numpy(), slow.resize_bilinear(expected, size), rtol=1e-3, atol=2e-3)

    def test_group_norm_equals_numpy(self):
        model = randomise(SemanticFPN(3, TinyBackbone(), fpn_channels=8, head_channels=64, norm="GN"))
        x = paddle.randn([2, 3, 64, 64])
        expected = slow_head(model.head, slow_fpn(model.fpn, arrays(model.backbone(x))), (0, 1, 2, 3))
        np.testing.assert_allclose(model.forward_features(x)[0].numpy(), expected, rtol=1e-3, atol=1e-2)

    @pytest.mark.parametrize("num_classes", [1, 2, 150])
    def test_number_of_classes(self, num_classes):
        model = SemanticFPN(num_classes, TinyBackbone(), fpn_channels=4, head_channels=4)
        assert list(model(paddle.randn([2, 3, 33, 47]))[0].shape) == [2, num_classes, 33, 47]

    def test_the_head_starts_as_the_references_do(self):
        model = SemanticFPN(150, TinyBackbone(), fpn_channels=64, head_channels=128)
        for branch in model.head.branches:
            weight = branch[0].weight.numpy()
            assert branch[0].bias is None
            assert weight.std() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
        assert model.head.classifier.weight.numpy().std() == pytest.approx(0.01, rel=0.05)
        assert (model.head.classifier.bias.numpy() == 0).all()

    def test_measuring_leaves_the_backbone_as_it_was(self):
        backbone = nn.Sequential(nn.Conv2D(3, 4, 4, stride=4), nn.BatchNorm2D(4))
        forward = backbone.forward
        backbone.forward = lambda x: [forward(x)]
        assert measure_backbone(backbone) == ([4], [4])
        assert backbone.training
        assert backbone[1].training
        assert (backbone[1]._variance.numpy() == 1).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_classes": 0}, "num_classes must be a whole number of at least 1, got 0"),
            ({"backbone_indices": (0, 4)}, r"\[0, 4\]: the backbone has 4 maps"),
            ({"backbone_indices": (3, 2, 1, 0)}, r"fine to coarse, got strides \[32, 16, 8, 4\]"),
            ({"head_levels": (1, 4)}, r"\[1, 4\]: the pyramid has levels 0 to 3"),
            ({"head_levels": ()}, r"head_levels \[\]"),
            ({"head_levels": (2, 1)}, r"fine to coarse, each level once, got \[2, 1\]"),
            ({"head_levels": (1, 1)}, r"fine to coarse, each level once, got \[1, 1\]"),
            ({"head_channels": 0}, "head_channels must be a whole number of at least 1, got 0"),
            ({"norm": "LN"}, "'BN' or 'GN', got 'LN'"),
            ({"norm": "GN", "head_channels": 48}, "multiple of 32, got 48"),
        ],
    )
    def test_wrong_options(self, options, message):
        with pytest.raises(ValueError, match=message):
            SemanticFPN(**{"num_classes": 3, "backbone": TinyBackbone(), **options})

    def test_a_backbone_whose_maps_run_coarse_to_fine_is_refused(self):
        backbone = TinyBackbone()
        forward = backbone.forward
        backbone.forward = lambda x: forward(x)[::-1]
        with pytest.raises(ValueError, match="fine to coarse"):
            SemanticFPN(3, backbone)

    def test_a_backbone_whose_maps_do_not_divide_the_image_is_refused(self):
        backbone = nn.Conv2D(3, 4, 3, stride=4, padding=10)
        forward = backbone.forward
        backbone.forward = lambda x: [forward(x)]
        with pytest.raises(ValueError, match="must divide a 128 pixel image, got sizes"):
            SemanticFPN(3, backbone, backbone_indices=(0,))


# Name, options, backbone_indices, strides and channels read from it.
HOST_BACKBONES = [
    ("ResNet18_vd", {"output_stride": 32}, (0, 1, 2, 3), [4, 8, 16, 32], [64, 128, 256, 512]),
    ("ResNet18_vd", {"output_stride": 8}, (0, 1, 2, 3), [4, 8, 8, 8], [64, 128, 256, 512]),
    ("MobileNetV2_x0_25", {}, (0, 1, 2, 3), [4, 8, 16, 32], [6, 8, 24, 80]),
    ("MobileNetV3_small_x0_35", {}, (0, 1, 2, 3), [4, 8, 16, 32], [8, 8, 16, 32]),
    ("STDC1", {}, (1, 2, 3, 4), [4, 8, 16, 32], [64, 256, 512, 1024]),
    ("HRNet_W18_Small_V1", {}, (0,), [4], [240]),
    ("MixVisionTransformer_B0", {}, (0, 1, 2, 3), [4, 8, 16, 32], [32, 64, 160, 256]),
]


@pytest.mark.parametrize(("name", "options", "indices", "strides", "channels"), HOST_BACKBONES)
def test_host_backbones_at_odd_sizes(name, options, indices, strides, channels):
    backbone = getattr(backbones, name)(**options)
    model = SemanticFPN(3, backbone, backbone_indices=indices, fpn_channels=8, head_channels=8)
    assert model.fpn.strides == strides
    assert [conv.weight.shape[1] for conv in model.fpn.laterals] == channels
    assert (model.coarse_stride, model.fine_strides, model.fine_channels) == (4, [4], [8])
    model.eval()
    with paddle.no_grad():
        for size in ((64, 96), (97, 130)):
            coarse, fine = model.forward_features(paddle.randn([2, 3, *size]))
            quarter = [-(-side // 4) for side in size]
            assert list(coarse.shape) == [2, 3, *quarter]
            assert list(fine[0].shape) == [2, 8, *quarter]
            assert bool(paddle.isfinite(coarse).all())


def test_a_large_odd_image_and_a_coarse_map_at_stride_8():
    model = SemanticFPN(2, backbones.MobileNetV3_small_x0_35(), head_levels=(1, 2, 3), fpn_channels=4, head_channels=4)
    model.eval()
    assert (model.coarse_stride, model.fine_strides) == (8, [4])
    with paddle.no_grad():
        coarse, fine = model.forward_features(paddle.randn([1, 3, 333, 517]))
        assert list(coarse.shape) == [1, 2, 42, 65]
        assert list(fine[0].shape) == [1, 4, 84, 130]
        assert list(model(paddle.randn([1, 3, 333, 517]))[0].shape) == [1, 2, 333, 517]


def test_gradients_reach_every_parameter():
    model = SemanticFPN(3, TinyBackbone(), fpn_channels=8, head_channels=8)
    (model(paddle.randn([2, 3, 64, 64]))[0] ** 2).sum().backward()
    for name, parameter in model.named_parameters():
        if not parameter.stop_gradient:  # batch statistics are listed too
            assert parameter.grad is not None, name
            assert bool(paddle.isfinite(parameter.grad).all()), name
    assert float(model.backbone.stem.weight.grad.abs().sum()) > 0
