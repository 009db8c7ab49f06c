"""One battery for the networks of models/segmentors/, each sharpened by PointRend."""

import pathlib
import tempfile

import numpy as np
import paddle
import pytest
import yaml
from hosts import CONFIG
from paddleseg.cvlibs import Config, SegBuilder
from tiny_backbone import TinyBackbone

from paddle_pointrend import PointRendSeg
from paddle_pointrend.deploy.export import compare_with_eager
from paddle_pointrend.deploy.runtimes import RUNTIMES, installed_runtimes
from paddle_pointrend.models.segmentors import DeepLabV1, DeepLabV2, GCUNet, SkipFCN

VGG = {"type": "VGG16", "base_channels": 2, "batch_norm": True}
DENSE_VGG = {**VGG, "output_stride": 8}
# Name -> model as in YAML, stride of the coarse logits.
NETWORKS = {
    "fcn32s": ({"type": "SkipFCN", "backbone": VGG, "coarse_stride": 32, "fc_channels": 6}, 32),
    "fcn16s_bilinear": (
        {"type": "SkipFCN", "backbone": VGG, "coarse_stride": 16, "fc_channels": 6, "upsampling": "bilinear"},
        16,
    ),
    "fcn8s": ({"type": "SkipFCN", "backbone": VGG, "coarse_stride": 8, "fc_channels": 6}, 8),
    "deeplab_v1": ({"type": "DeepLabV1", "backbone": DENSE_VGG, "fc_channels": 6, "multi_scale_channels": 4}, 8),
    "deeplab_v2": ({"type": "DeepLabV2", "backbone": DENSE_VGG, "fc_channels": 6}, 8),
    "gcu_net": ({"type": "GCUNet", "backbone": {**VGG, "output_stride": 16}, "channels": 6}, 16),
}
RUNTIMES_HERE = [name for name in installed_runtimes() if RUNTIMES[name].format and name != "openvino"]
# Those that are exported by default; all with -m slow.
TRACED = ("fcn8s", "deeplab_v1", "deeplab_v2", "gcu_net")
SIZES = ((1, 64, 96), (2, 61, 83), (1, 20, 20))


def build(folder, network):
    """PointRendSeg on a network, from YAML as a user writes it, with random weights in every layer."""
    model = {
        "type": "PointRendSeg",
        "num_classes": 3,
        "segmentor": {**NETWORKS[network][0], "num_classes": 3},
        "point_head": {"hidden_channels": 6},
        "num_train_points": 40,
        "num_subdivision_points": 50,
    }
    (folder / "model.yml").write_text(CONFIG.format(num_classes=3) + yaml.dump({"model": model}))
    paddle.seed(0)
    model = SegBuilder(Config(str(folder / "model.yml"))).model
    for parameter in model.parameters():
        if not parameter.stop_gradient:  # some start at zero
            fan_in = max(1, int(np.prod(parameter.shape[1:])))
            parameter.set_value(parameter + paddle.randn(parameter.shape) * fan_in**-0.5)
    return model


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return request.param


@pytest.fixture
def model(network, tmp_path):
    return build(tmp_path, network)


def test_training_step(model, network):
    model.train()
    logits, (point_logits, point_coords) = model(paddle.randn([2, 3, 64, 64]))
    assert logits.shape == [2, 3, 64, 64]
    assert (point_logits.shape, point_coords.shape) == ([2, 3, 40], [2, 40, 2])
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    (logits.square().mean() + point_logits.square().mean()).backward()
    for name, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert parameter.grad is not None and bool(paddle.isfinite(parameter.grad).all()), name
    paddle.optimizer.SGD(0.1, parameters=model.parameters()).step()
    changed = [name for name, tensor in model.state_dict().items() if (tensor.numpy() != before[name]).any()]
    assert {name.split(".")[0] for name in changed} == {"segmentor", "point_head"}


def test_coarse_map_and_fine_features(model, network):
    segmentor, stride = model.segmentor, NETWORKS[network][1]
    segmentor.eval()
    assert (segmentor.coarse_stride, segmentor.fine_strides, segmentor.fine_channels) == (stride, [4], [4])
    assert model.num_subdivision_points == [50] * int(np.log2(stride))
    with paddle.no_grad():
        for height, width in ((64, 96), (61, 83), (20, 20)):
            coarse, fine = segmentor.forward_features(paddle.randn([2, 3, height, width]))
            assert coarse.shape == [2, 3, -(-height // stride), -(-width // stride)]
            assert fine[0].shape == [2, 4, -(-height // 4), -(-width // 4)]


def test_refinement_at_an_odd_size(model, network):
    model.eval()
    images = paddle.randn([2, 3, 61, 83])
    with paddle.no_grad():
        coarse, refined = model.predict_both(images)
        np.testing.assert_array_equal(model.segmentor(images)[0].numpy(), coarse.numpy())
    assert coarse.shape == refined.shape == [2, 3, 61, 83]
    assert float((coarse - refined).abs().max()) > 1e-3


def evaluated(network):
    with tempfile.TemporaryDirectory() as folder:
        model = build(pathlib.Path(folder), network)
    model.eval()
    # All pixels of the sizes below: between almost equal uncertainties the last bit decides, and the maps part.
    model.num_subdivision_points = [10_000] * len(model.num_subdivision_points)
    return model


@pytest.mark.parametrize("runtime", RUNTIMES_HERE)
@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=() if name in TRACED else pytest.mark.slow) for name in NETWORKS]
)
def test_export(exported_once, network, runtime):
    model, folder = exported_once(evaluated, RUNTIMES[runtime].format, {"network": network})
    for row in compare_with_eager(model, folder, runtime, SIZES):
        assert row["max_difference"] < 1e-4 * row["max_logit"]
        assert row["max_logit"] > 0.1


def test_any_backbone():
    """Of strides 4 to 32."""
    for model, stride in (
        (SkipFCN(3, TinyBackbone(), coarse_stride=4, fc_channels=4), 4),
        (DeepLabV1(3, TinyBackbone(), fc_channels=4, multi_scale_channels=2), 32),
        (DeepLabV2(3, TinyBackbone(), fc_channels=4), 32),
        (GCUNet(3, TinyBackbone(), channels=4), 32),
    ):
        assert (model.coarse_stride, model.fine_strides) == (stride, [4])
        assert PointRendSeg(model)(paddle.randn([2, 3, 61, 83]))[0].shape == [2, 3, 61, 83]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SkipFCN(0, TinyBackbone()), "num_classes must be a whole number of at least 1, got 0"),
        (
            lambda: SkipFCN(3, TinyBackbone(), coarse_stride=2),
            r"coarse_stride 2: the backbone's maps have strides \[4,",
        ),
        (lambda: SkipFCN(3, TinyBackbone(), coarse_stride=64), "coarse_stride 64"),
        (lambda: SkipFCN(3, TinyBackbone(), upsampling="nearest"), "got 'nearest'"),
        (
            lambda: DeepLabV2(3, TinyBackbone(), dilations=()),
            r"dilations must be a list of .*, got \(\)",
        ),
        (lambda: GCUNet(3, TinyBackbone(), num_vertices=()), r"num_vertices must be a list of .*, got \(\)"),
        (lambda: SkipFCN("3", TinyBackbone()), "num_classes must be a whole number of at least 1, got '3'"),
        (lambda: SkipFCN(3, TinyBackbone(), coarse_stride="8"), "coarse_stride must be a whole number .*, got '8'"),
        (lambda: SkipFCN(3, TinyBackbone(), fc_channels=0), "fc_channels must be a whole number .*, got 0"),
        (lambda: DeepLabV1(3, TinyBackbone(), multi_scale_channels=-1), "multi_scale_channels must .*, got -1"),
        (lambda: DeepLabV2(3, TinyBackbone(), dilations=6), "dilations must be a list .*, got 6"),
        (lambda: GCUNet(3, TinyBackbone(), channels=0), "channels must be a whole number .*, got 0"),
        (lambda: GCUNet(3, TinyBackbone(), num_vertices=(2, 0)), r"num_vertices must be a list .*, got \(2, 0\)"),
    ],
)
def test_bad_options_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_backbone_whose_maps_run_coarse_to_fine_is_refused():
    backbone = TinyBackbone()
    forward = backbone.forward
    backbone.forward = lambda x: forward(x)[::-1]
    with pytest.raises(ValueError, match=r"fine to coarse, got strides \[32, 16, 8, 4\]"):
        GCUNet(3, backbone)


def test_pretrained_weights_of_the_whole_model(tmp_path):
    source = GCUNet(3, TinyBackbone(), channels=4)
    paddle.save(source.state_dict(), str(tmp_path / "weights.pdparams"))
    model = GCUNet(3, TinyBackbone(), channels=4, pretrained=str(tmp_path / "weights.pdparams"))
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), source.state_dict()[name].numpy(), err_msg=name)
