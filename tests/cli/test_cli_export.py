"""The command export."""

import importlib.util

import paddle
import pytest
import yaml
from conftest import TINY_CLASSES
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend.cli import export, main
from paddle_pointrend.deploy import onnx_conversion, quantization

HAS_ONNX = importlib.util.find_spec("paddle2onnx") is not None
FORMATS_HERE = ["paddle", pytest.param("onnx", marks=pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx"))]


@pytest.fixture
def weights(tmp_path, pointrend_config):
    with paddle.utils.unique_name.guard():
        model = SegBuilder(Config(str(pointrend_config))).model
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    return str(tmp_path / "model.pdparams")


@pytest.mark.parametrize("file_format", FORMATS_HERE)
def test_exports_compares_and_predict_takes_it(tmp_path, pointrend_config, weights, file_format, capsys):
    folder = str(tmp_path / "exported")
    arguments = ["--config", str(pointrend_config), "--model_path", weights, "--save_dir", folder]
    assert main(["export", *arguments, "--format", file_format, "--output", "label"]) == 0
    printed = capsys.readouterr().out
    assert f"deploy.yaml into {folder}" in printed
    assert printed.count("Against eager Paddle") == 2
    deploy = yaml.safe_load((tmp_path / "exported" / "deploy.yaml").read_text())
    assert (deploy["num_classes"], deploy["mean"]) == (TINY_CLASSES, [127.5] * 3)
    image = str(tmp_path / "data" / "images" / "val0.png")
    arguments = ["--config", str(pointrend_config), "--model_path", folder, "--image_path", image]
    assert main(["predict", *arguments, "--save_dir", str(tmp_path / "result")]) == 0
    assert (tmp_path / "result" / "pseudo_color_prediction" / "val0.png").is_file()


def test_an_export_that_computes_something_else_fails(tmp_path, pointrend_config, weights, capsys, monkeypatch):
    row = {"size": [1, 2, 3], "different_labels": 0.01}
    monkeypatch.setattr(export, "export_model", lambda *args, **kwargs: None)
    monkeypatch.setattr(export, "compare_with_eager", lambda *args, **kwargs: [row])
    arguments = ["--config", str(pointrend_config), "--model_path", weights, "--save_dir", str(tmp_path / "e")]
    assert main(["export", *arguments]) == 1
    assert "does not compute what the model does" in capsys.readouterr().out

    def fail(*args, **kwargs):
        raise RuntimeError("LayerNormalization:\n does not fit")

    monkeypatch.setattr(export, "compare_with_eager", fail)
    assert main(["export", *arguments]) == 1
    expected = "The exported network could not be run, to compare it: LayerNormalization: does not fit"
    assert expected in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, pointrend_config, weights, capsys, monkeypatch):
    config = ["export", "--config", str(pointrend_config)]
    assert main(config) == 2
    assert "--model_path is missing" in capsys.readouterr().err
    monkeypatch.setattr(onnx_conversion.importlib.util, "find_spec", lambda name: None)
    save_dir = ["--save_dir", str(tmp_path / "e")]
    assert main([*config, "--model_path", weights, *save_dir, "--format", "onnx"]) == 2
    assert 'paddle2onnx is not installed: pip install -c constraints.txt -e ".[onnx]"' in capsys.readouterr().err


@pytest.mark.skipif(not HAS_ONNX or importlib.util.find_spec("ml_dtypes") is None, reason="no paddle2onnx, ml_dtypes")
def test_exports_int8_and_predict_takes_it(tmp_path, pointrend_config, weights, capsys):
    folder, images = tmp_path / "int8", tmp_path / "data" / "images"
    arguments = ["--config", str(pointrend_config), "--model_path", weights, "--save_dir", str(folder)]
    assert main(["export", *arguments, "--precision", "int8", "--calibration", str(images)]) == 0
    printed = capsys.readouterr().out
    assert "Calibrating with 7 images" in printed and "convolutions in int8" in printed
    assert "of the coarse labels differ" in printed and "Against float32, in onnxruntime" in printed
    assert sorted(path.name for path in folder.iterdir()) == ["deploy.yaml", "model.onnx"]
    assert yaml.safe_load((folder / "deploy.yaml").read_text())["quantization"]["images"] == 7
    arguments = ["predict", "--config", str(pointrend_config), "--image_path", str(images / "val0.png")]
    arguments += ["--save_dir", str(tmp_path / "result"), "--model_path"]
    assert main([*arguments, str(folder), "--runtime", "onnxruntime"]) == 0
    assert "Runtime: onnxruntime on cpu in int8" in capsys.readouterr().out
    for path, precision, expected in (
        (folder, "fp32", "is in int8, for fp32 export without --precision int8"),
        (weights, "int8", "int8 needs an exported folder: export --precision int8 --calibration"),
    ):
        assert main([*arguments, str(path), "--precision", precision]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize("slower", [False, True])
def test_says_where_int8_is_slower(tmp_path, capsys, monkeypatch, slower):
    row = {
        "runtime": "r",
        "different_labels": 0.01,
        "int8_seconds": 1.2,
        "float32_seconds": 1,
        "time": 0.8 + 0.4 * slower,
    }
    done = quantization.Quantization(1, "c", 2, ["Conv.7"], 0.02)
    monkeypatch.setattr(export, "quantize_export", lambda *arguments: done)
    monkeypatch.setattr(export, "compare_precisions", lambda *arguments: [row])
    assert export._quantise("a", "b", []) == 0
    printed = capsys.readouterr().out
    assert "Sensitive, so in float32: Conv.7" in printed and "0.02 of the coarse labels differ" in printed
    assert ("In r int8 is slower than float32 on this machine" in printed) == slower


def test_mistakes_of_int8_are_one_line(tmp_path, pointrend_config, weights, capsys, monkeypatch):
    arguments = [
        "export",
        "--config",
        str(pointrend_config),
        "--model_path",
        weights,
        "--save_dir",
        str(tmp_path / "e"),
    ]
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    int8 = ["--precision", "int8"]
    monkeypatch.setattr(export, "check_quantization", lambda: None)
    for flags, expected in (
        (["--calibration", str(tmp_path)], "--calibration is for --precision int8, which is missing"),
        (int8, "--precision int8 needs --calibration FOLDER"),
        ([*int8, "--calibration", str(tmp_path), "--format", "paddle"], "--precision int8 writes --format onnx, got"),
        ([*int8, "--calibration", str(tmp_path / "none")], "none: there is no such file or folder"),
        ([*int8, "--calibration", str(tmp_path / "empty")], "empty: there are no images in it"),
        ([*int8, "--calibration", str(tmp_path / "broken")], "a.png: not an image that OpenCV or Pillow can read"),
    ):
        assert main([*arguments, *flags]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
    monkeypatch.undo()
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
    assert main([*arguments, *int8, "--calibration", str(tmp_path)]) == 2
    assert (
        'onnx, onnxruntime, ml_dtypes: not installed; pip install -c constraints.txt -e ".[int8]"'
        in capsys.readouterr().err
    )
    assert not (tmp_path / "e").exists()
