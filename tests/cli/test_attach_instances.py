"""attach: PointRend's mask head on a trained Mask R-CNN, which stays as it is."""

import types

import numpy as np
import paddle
import pytest
from command_line import error_line, run
from tiny_instances import write_instance_config

from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg import load_config
from paddle_pointrend.paddleseg.configs import build, make_builder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config of a Mask R-CNN, its weights after an iteration, and a config with PointRend attached."""
    folder = tmp_path_factory.mktemp("attach")
    case = types.SimpleNamespace(folder=folder, config=write_instance_config(folder, "Standard"))
    arguments = ["--config", case.config, "--iters", 1, "--log_iters", 1]
    assert run("train", *arguments, "--save_dir", folder / "host") == 0
    case.weights = folder / "host/iter_1"
    case.attached = folder / "attached.yml"
    options = ["--config", case.config, "--model_path", case.weights]
    assert run("attach", case.attached, *options, "--iters", 2, "--learning_rate", 0.01) == 0
    return case


def _read(folder):
    return paddle.load(str(folder / "model.pdparams"), return_numpy=True)


def test_the_config_says_what_it_is(trained):
    text = trained.attached.read_text()
    assert text.startswith("# PointRend on the trained MaskRCNN of ")
    assert "masks are of 224 pixels a side" in text
    model = load_config(trained.attached).dic["model"]
    assert model["freeze_detector"] is True
    assert model["mask_head"]["type"] == "PointRendMaskHead"
    assert model["mask_head"]["coarse_head"] == {"channels": 16, "fc_channels": 64}
    assert "pretrained" not in model["backbone"]


def test_training_changes_the_mask_head_alone(trained, tmp_path, capsys):
    assert run("train", "--config", trained.attached, "--save_dir", tmp_path, "--log_iters", 1) == 0
    output = capsys.readouterr().out
    assert "loss_rpn" not in output and "(mask 0." in output
    before, after = _read(trained.weights), _read(tmp_path / "iter_2")
    detector = {name for name in before if not name.startswith("mask_head.")}
    assert detector == {name for name in after if not name.startswith("mask_head.")}
    for name in detector:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    start = build(make_builder(load_config(trained.attached)), "", "model").state_dict()
    assert any(not np.array_equal(after[name], start[name]) for name in after if name.startswith("mask_head."))
    capsys.readouterr()
    assert run("val", "--config", trained.attached, "--model_path", tmp_path / "iter_2") == 0
    assert any(line.split() == ["coarse", "refined", "difference"] for line in capsys.readouterr().out.splitlines())


def test_other_weights_than_the_detectors_are_refused(trained, tmp_path):
    config = load_config(trained.attached, opts=["model.backbone.type=ResNet50_vd"])
    with pytest.raises((CheckpointError, ValueError), match="does not belong to this MaskRCNN"):
        build(make_builder(config), "config", "model")


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({}, ["--fine", "fpn"], "--coarse and --fine are for networks of labels"),
        ({}, ["--model_path", "none"], "no such file"),
        ({"num_classes": 1}, [], "does not belong to this model"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, capsys, change, arguments, words):
    config = trained.config
    if change:
        config = tmp_path / "config.yml"
        text = trained.config.read_text().replace("num_classes: 2", f"num_classes: {change['num_classes']}")
        config.write_text(text)
    capsys.readouterr()
    options = ["--config", config, "--model_path", trained.weights, *arguments]
    assert run("attach", tmp_path / "out.yml", *options) == 2
    assert words in error_line(capsys)
    assert not (tmp_path / "out.yml").exists()


def test_pointrend_is_not_attached_twice(trained, tmp_path, capsys):
    capsys.readouterr()
    arguments = ["--config", trained.attached, "--model_path", trained.weights]
    assert run("attach", tmp_path / "out.yml", *arguments) == 2
    assert "its mask head is a PointRendMaskHead already" in error_line(capsys)
