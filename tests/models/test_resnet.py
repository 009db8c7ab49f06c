import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_pointrend.models.resnet import FrozenBatchNorm2D, ResNet
from paddle_pointrend.models.weights import CheckpointError

VARIANTS = {
    "torchvision": {},
    "v1c": {"deep_stem": True},
    "msra": {"stride_in_1x1": True, "norm": "FrozenBN"},
}
# torchvision's published 25,557,032 without its classifier; V1c has another stem.
NUM_WEIGHTS = {"torchvision": 23_508_032, "v1c": 23_508_032 - 9_408 + 28_512 + 128, "msra": 23_508_032}


@pytest.mark.parametrize("variant", VARIANTS)
def test_four_maps_at_strides_4_to_32_with_sizes_rounded_up(variant):
    network = ResNet(50, **VARIANTS[variant])
    network.eval()
    shapes = [list(maps.shape) for maps in network(paddle.zeros([2, 3, 65, 97]))]
    assert shapes == [[2, 256, 17, 25], [2, 512, 9, 13], [2, 1024, 5, 7], [2, 2048, 3, 4]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_number_of_weights_is_the_published_one(variant):
    statistics = ("_mean", "_variance")
    state = ResNet(50, **VARIANTS[variant]).state_dict()
    assert sum(tensor.size for name, tensor in state.items() if not name.endswith(statistics)) == NUM_WEIGHTS[variant]


@pytest.mark.parametrize(("stride_in_1x1", "strides"), [(True, ([2, 2], [1, 1])), (False, ([1, 1], [2, 2]))])
def test_stride_stands_where_it_is_asked_for(stride_in_1x1, strides):
    network = ResNet(50, stride_in_1x1=stride_in_1x1)
    for stage in (network.layer2, network.layer3, network.layer4):
        assert (stage[0].conv1._stride, stage[0].conv2._stride) == strides
        assert stage[1].conv1._stride == stage[1].conv2._stride == [1, 1]
    assert network.layer1[0].conv1._stride == network.layer1[0].conv2._stride == [1, 1]


def test_depth_101_has_33_blocks():
    network = ResNet(101)
    assert [len(stage) for stage in (network.layer1, network.layer2, network.layer3, network.layer4)] == [3, 4, 23, 3]


@pytest.mark.parametrize("deep_stem", [True, False])
def test_images_of_four_channels(deep_stem):
    network = ResNet(50, deep_stem=deep_stem, in_channels=4)
    assert network(paddle.zeros([1, 4, 32, 32]))[0].shape[1] == 256


@pytest.mark.parametrize(
    ("options", "message"),
    [({"depth": 18}, r"depth must be one of \(50, 101, 152\), got 18"), ({"depth": 50, "norm": "GN"}, "got 'GN'")],
)
def test_bad_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**options)


class TestFrozenBatchNorm:
    @pytest.fixture
    def norm(self):
        norm = FrozenBatchNorm2D(4)
        for name, tensor in norm.state_dict().items():
            tensor.set_value(paddle.rand([4]) + (0.5 if name == "_variance" else 0))
        return norm

    def test_fresh_one_changes_nothing(self):
        x = paddle.randn([2, 4, 5, 6])
        np.testing.assert_allclose(FrozenBatchNorm2D(4)(x).numpy(), x.numpy(), rtol=1e-6)

    def test_training_neither_uses_nor_changes_statistics(self, norm):
        before = {name: tensor.numpy().copy() for name, tensor in norm.state_dict().items()}
        norm.train()
        x = paddle.randn([2, 4, 5, 6])
        x.stop_gradient = False
        out = norm(x)
        (out * paddle.arange(240).reshape(out.shape).astype("float32")).sum().backward()
        mean, variance, weight, bias = (
            before[name].reshape(1, 4, 1, 1) for name in ("_mean", "_variance", "weight", "bias")
        )
        scale = weight / np.sqrt(variance + 1e-5)
        np.testing.assert_allclose(out.numpy(), (x.numpy() - mean) * scale + bias, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(x.grad.numpy(), np.arange(240).reshape(out.shape) * scale, rtol=1e-4)
        assert all((tensor.numpy() == before[name]).all() for name, tensor in norm.state_dict().items())
        assert norm.parameters() == []

    def test_has_the_names_of_a_batch_norm(self):
        assert set(FrozenBatchNorm2D(4).state_dict()) == set(nn.BatchNorm2D(4).state_dict())

    def test_sync_batch_norm_leaves_it_alone(self):
        network = nn.SyncBatchNorm.convert_sync_batchnorm(ResNet(50, norm="FrozenBN"))
        kinds = {type(layer) for layer in network.sublayers() if "Norm" in type(layer).__name__}
        assert kinds == {FrozenBatchNorm2D}


class TestPretrained:
    def test_weights_of_a_file_are_loaded(self, tmp_path):
        source = ResNet(50)
        paddle.save(source.state_dict(), str(tmp_path / "weights.pdparams"))
        network = ResNet(50, pretrained=str(tmp_path / "weights.pdparams"))
        for name, tensor in network.state_dict().items():
            assert (tensor.numpy() == source.state_dict()[name].numpy()).all(), name

    def test_weights_of_another_depth_are_refused(self, tmp_path):
        paddle.save(ResNet(50).state_dict(), str(tmp_path / "weights.pdparams"))
        with pytest.raises(CheckpointError, match=r"weights\.pdparams does not belong to this ResNet: 255 of"):
            ResNet(101, pretrained=str(tmp_path / "weights.pdparams"))


class TestResNeXtAndFreezing:
    def test_resnext_101_32x8d_has_its_published_number_of_parameters(self):
        model = ResNet(101, groups=32, width_per_group=8)
        # torchvision's resnext101_32x8d: 88,791,336 with a classifier of 2048 * 1000 + 1000.
        assert sum(p.size for p in model.parameters() if not p.stop_gradient) == 88_791_336 - 2_049_000
        assert list(model.layer1[0].conv2.weight.shape) == [256, 8, 3, 3]

    def test_frozen_parts_keep_their_weights_and_statistics(self):
        model = ResNet(50, freeze_at=2)
        learning = {name.split(".")[0] for name, p in model.named_parameters() if not p.stop_gradient}
        assert learning == {"layer2", "layer3", "layer4"}
        norms = {name: type(layer) for name, layer in model.named_sublayers() if "BatchNorm" in type(layer).__name__}
        frozen = {name.split(".")[0] for name, kind in norms.items() if kind is FrozenBatchNorm2D}
        assert frozen == {"bn1", "layer1"} and len(norms) == 53
        assert set(model.state_dict()) == set(ResNet(50).state_dict())

    def test_more_parts_than_there_are(self):
        with pytest.raises(ValueError, match=r"freeze_at must lie in \[0, 5\], got 6"):
            ResNet(50, freeze_at=6)
