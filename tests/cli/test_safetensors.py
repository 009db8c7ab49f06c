"""Weights as .safetensors, wherever weights are named, and as `convert` writes them."""

import json
import shutil

import numpy as np
import paddle
import pytest
from command_line import error_line, run
from safetensors.numpy import load_file, save_file

from paddle_pointrend.models.resnet import ResNet


@pytest.fixture
def shared(varied_weights, tmp_path):
    """A folder with the weights as model.safetensors, written by another program than ours."""
    state = {name: tensor.numpy() for name, tensor in paddle.load(str(varied_weights)).items()}
    (tmp_path / "shared").mkdir()
    save_file(state, tmp_path / "shared/model.safetensors")
    return tmp_path / "shared"


def scores(trained, weights, file):
    assert run("val", "--config", trained.config, "--model_path", weights, "--json", file) == 0
    return json.loads(file.read_text())["predictions"]


def test_model_path_takes_the_file_and_its_folder(trained, varied_weights, shared, tmp_path):
    expected = scores(trained, varied_weights, tmp_path / "pdparams.json")
    for weights in (shared / "model.safetensors", shared):
        assert scores(trained, weights, tmp_path / "safetensors.json") == expected
    assert len(expected) == 2  # coarse and refined


def test_of_both_in_a_folder_the_pdparams_counts(trained, shared, capsys):
    shutil.copy(trained.weights, shared / "model.pdparams")
    assert run("val", "--config", trained.config, "--model_path", shared) == 0
    assert f"tensors from {shared}/model.pdparams" in capsys.readouterr().out


def test_training_starts_from_it(trained, varied_weights, shared, tmp_path):
    weights = shared / "model.safetensors"
    arguments = ["--config", trained.config, "--save_dir", tmp_path / "out", "--iters", 1, "--learning_rate", 1e-12]
    assert run("train", *arguments, "--opts", f"model.pretrained={weights}") == 0
    started = paddle.load(str(tmp_path / "out/iter_1/model.pdparams"))
    for name, array in load_file(weights).items():
        if not name.endswith(("_mean", "_variance")):  # which an iteration changes
            np.testing.assert_allclose(started[name].numpy(), array, rtol=1e-6, atol=1e-7, err_msg=name)


def test_convert_writes_it_and_a_backbone_starts_from_it(trained, tmp_path):
    """A ResNet-50 of torch's names, of random numbers, to .safetensors and to .pdparams: the same tensors."""
    paddle.seed(5)
    backbone = {name: tensor.numpy() for name, tensor in ResNet(50).state_dict().items()}
    torch_names = {"._mean": ".running_mean", "._variance": ".running_var"}
    source = {}
    for name, array in backbone.items():
        for ours, theirs in torch_names.items():
            name = name.replace(ours, theirs)
        source[name] = array
    save_file(source, tmp_path / "resnet50.safetensors")
    config = tmp_path / "resnet50.yml"
    config.write_text(trained.config.read_text().replace("ResNet18_vd, output_stride: 32", "ResNet, depth: 50"))
    written = {}
    for suffix in ("pdparams", "safetensors"):
        out = tmp_path / f"out.{suffix}"
        arguments = [tmp_path / "resnet50.safetensors", out, "--from", "torchvision", "--config", config]
        assert run("convert", *arguments) == 0
        written[suffix] = out
    converted = load_file(written["safetensors"])
    assert sorted(converted) == sorted(paddle.load(str(written["pdparams"])))
    for name, tensor in paddle.load(str(written["pdparams"])).items():
        np.testing.assert_array_equal(converted[name], tensor.numpy())
    arguments = ["--config", config, "--save_dir", tmp_path / "out", "--iters", 1, "--learning_rate", 1e-12]
    pretrained = f"model.segmentor.backbone.pretrained={written['safetensors']}"
    assert run("train", *arguments, "--opts", pretrained) == 0
    started = paddle.load(str(tmp_path / "out/iter_1/model.pdparams"))
    first = "segmentor.backbone.layer4.2.conv3.weight"
    np.testing.assert_allclose(started[first].numpy(), converted["layer4.2.conv3.weight"], rtol=1e-6, atol=1e-7)


def test_a_damaged_file_is_one_line(trained, shared, capsys):
    file = shared / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert run("val", "--config", trained.config, "--model_path", shared) == 2
    assert f"{file} cannot be read" in error_line(capsys)
