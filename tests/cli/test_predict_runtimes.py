"""`predict` with trained weights, exported first or in eager Paddle."""

import importlib.util
import shutil

import numpy as np
import pytest
from command_line import error_line
from predictions import NORMALIZE, pixels_of, predict, predicted

from paddle_pointrend.cli import predict as cli_predict
from paddle_pointrend.deploy import export as export_module
from paddle_pointrend.deploy.export import ExportError
from paddle_pointrend.deploy.runtimes import has_bfloat16


@pytest.fixture
def export_tiny_network(exported, monkeypatch):
    """In the place of the export of the config's model: that of the TinyNetwork. The formats that were asked for."""
    asked = []

    def export(layer, folder, *, format, **description):
        asked.append(format)
        shutil.copytree(exported.logits, folder, dirs_exist_ok=True)

    monkeypatch.setattr(export_module, "export_model", export)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find_spec(name) if name == "paddle" else None)
    return asked


def is_of_tiny_network(exported, save_dir):
    expected = exported.predictor.predict(pixels_of(exported.root / "images/val0.png"))
    return np.mean(predicted(save_dir, "val0.png") == expected) > 0.999


@pytest.mark.parametrize(("many", "formats"), [(7, ["paddle"]), (8, [])])
def test_predict_exports_trained_weights_where_there_are_many_images(
    exported, export_tiny_network, tmp_path, capsys, monkeypatch, many, formats
):
    monkeypatch.setattr(cli_predict, "MANY_IMAGES", many)
    assert predict(exported, exported.weights, exported.root / "images", tmp_path, *NORMALIZE) == 0
    assert export_tiny_network == formats
    assert is_of_tiny_network(exported, tmp_path) == bool(formats)
    printed = capsys.readouterr().out
    assert ("Exporting the model for paddle-inference" in printed) == bool(formats)


@pytest.mark.parametrize(("runtime", "formats"), [("paddle-inference", ["paddle"]), ("paddle", [])])
def test_predict_with_trained_weights_in_the_runtime_that_is_asked_for(
    exported, export_tiny_network, tmp_path, runtime, formats
):
    arguments = [exported.weights, exported.root / "images/val0.png", tmp_path, "--runtime", runtime, *NORMALIZE]
    assert predict(exported, *arguments) == 0
    assert export_tiny_network == formats
    assert is_of_tiny_network(exported, tmp_path) == bool(formats)


SLOW = pytest.mark.slow  # each export takes seconds


@pytest.mark.parametrize(
    "runtime", ["paddle-inference", pytest.param("onnxruntime", marks=SLOW), pytest.param("openvino", marks=SLOW)]
)
def test_predict_runs_the_configs_model_the_same_in_every_runtime(exported, tmp_path, runtime):
    if runtime != "paddle-inference":
        pytest.importorskip(runtime)
        pytest.importorskip("paddle2onnx")
    arguments = (exported, exported.weights, exported.root / "images/val0.png")
    assert predict(*arguments, tmp_path / "paddle") == 0
    assert predict(*arguments, tmp_path / runtime, "--runtime", runtime) == 0
    expected = predicted(tmp_path / "paddle", "val0.png")
    assert len(np.unique(expected)) > 1
    assert np.mean(predicted(tmp_path / runtime, "val0.png") == expected) > 0.999


@pytest.mark.slow
def test_predict_in_bfloat16_changes_few_labels(exported, tmp_path, capsys):
    pytest.importorskip("openvino")
    pytest.importorskip("paddle2onnx")
    if not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    arguments = (exported, exported.weights, exported.root / "images/val0.png")
    assert predict(*arguments, tmp_path / "fp32") == 0
    assert predict(*arguments, tmp_path / "bf16", "--precision", "bf16") == 0
    assert "Runtime: openvino on cpu in bf16" in capsys.readouterr().out
    assert np.mean(predicted(tmp_path / "bf16", "val0.png") == predicted(tmp_path / "fp32", "val0.png")) > 0.9


def test_predict_says_how_to_install_a_runtime_before_it_exports(exported, export_tiny_network, tmp_path, capsys):
    arguments = [exported.weights, exported.root / "images/val0.png", tmp_path]
    for flags in (["--runtime", "openvino"], ["--precision", "bf16"]):
        assert predict(exported, *arguments, *flags) == 2
        assert 'openvino is not installed: pip install -c constraints.txt -e ".[openvino]"' in error_line(capsys)
    assert export_tiny_network == []


def test_predict_stays_in_eager_paddle_where_the_export_fails(exported, tmp_path, capsys, monkeypatch):
    def export(*arguments, **options):
        raise ExportError("it cannot be traced")

    monkeypatch.setattr(export_module, "export_model", export)
    monkeypatch.setattr(cli_predict, "MANY_IMAGES", 1)
    arguments = (exported, exported.weights, exported.root / "images/val0.png", tmp_path)
    assert predict(*arguments) == 0
    assert "cannot be exported, so eager Paddle runs it: it cannot be traced" in capsys.readouterr().out
    assert predict(*arguments, "--runtime", "paddle-inference") == 2
    assert "--runtime paddle-inference: the model cannot be exported: it cannot be traced" in error_line(capsys)
