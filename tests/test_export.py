"""Exported networks against eager Paddle, on every runtime that is installed; and the command."""

import importlib.util

import numpy as np
import paddle
import pytest
import yaml
from conftest import TINY_CLASSES
from hosts import HOSTS, build_pointrend
from paddleseg.cvlibs import Config, SegBuilder
from tiny_backbone import TinyBackbone

from paddle_pointrend import PointRendSeg, SemanticFPN
from paddle_pointrend import export as export_module
from paddle_pointrend.cli import main
from paddle_pointrend.export import ExportError, compare_with_eager, export_model
from paddle_pointrend.runtimes import FORMATS, installed_runtimes, load_runtime

EXPORTED_RUNTIMES = [name for name in installed_runtimes() if name in FORMATS]
HAS_ONNX = importlib.util.find_spec("paddle2onnx") is not None
FORMATS_HERE = ["paddle", pytest.param("onnx", marks=pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx"))]
# One whose sides the strides divide, a batch of one that they do not divide, and fewer pixels than points.
SIZES = ((1, 64, 96), (2, 61, 83), (3, 20, 20))


def spread_model(num_classes=5, **options):
    """A small PointRendSeg whose random logits differ."""
    segmentor = SemanticFPN(num_classes, TinyBackbone(), fpn_channels=16, head_channels=8)
    model = PointRendSeg(segmentor, {"hidden_channels": 16}, num_subdivision_points=100, **options)
    for layer in (segmentor.head.classifier, model.point_head.predictor):
        layer.weight.set_value(paddle.randn(layer.weight.shape))
    model.eval()
    return model


def clearly(logits):
    """Where the best logit is ahead of the second by more than rounding."""
    best = np.sort(logits, axis=1)
    return best[:, -1] - best[:, -2] > 1e-4


@pytest.mark.parametrize("runtime", EXPORTED_RUNTIMES)
class TestEveryRuntime:
    # 4 classes fill a grid, 5 and 1 do not.
    @pytest.mark.parametrize(("num_classes", "options"), [(4, {}), (5, {"size_divisor": 8}), (1, {})])
    def test_logits_are_eager_paddles_at_every_size(self, tmp_path, runtime, num_classes, options):
        model = spread_model(num_classes, **options)
        export_model(model, tmp_path, format=FORMATS[runtime])
        for row in compare_with_eager(model, tmp_path, runtime, SIZES):
            assert row["max_difference"] < 1e-4 * row["max_logit"]
            assert row["different_labels"] <= 1e-4
            assert row["max_logit"] > 1

    def test_labels_are_the_best_classes(self, tmp_path, runtime):
        model = spread_model()
        export_model(model, tmp_path, format=FORMATS[runtime], output="label")
        run = load_runtime(runtime, tmp_path)
        for shape in SIZES:
            images = np.random.randn(shape[0], 3, *shape[1:]).astype("float32")
            logits = model(paddle.to_tensor(images))[0].numpy()
            labels = run(images)
            assert labels.dtype == np.uint8 and labels.shape == shape
            assert (labels == logits.argmax(axis=1))[clearly(logits)].all()
        rows = compare_with_eager(model, tmp_path, runtime, SIZES)
        assert all(row["different_labels"] < 1e-3 for row in rows)

    def test_output_size_resizes_the_logits(self, tmp_path, runtime):
        model = spread_model()
        export_model(model, tmp_path, format=FORMATS[runtime], output_size=(30, 50))
        images = np.random.randn(2, 3, 64, 96).astype("float32")
        logits = model(paddle.to_tensor(images))[0]
        expected = paddle.nn.functional.interpolate(logits, [30, 50], mode="bilinear").numpy()
        np.testing.assert_allclose(load_runtime(runtime, tmp_path)(images), expected, atol=1e-3)
        row = compare_with_eager(model, tmp_path, runtime, SIZES[:1], output_size=(30, 50))[0]
        assert row["max_difference"] < 1e-4 * row["max_logit"]

    def test_a_threshold_stays_in_the_graph(self, tmp_path, runtime):
        model = spread_model(refine_threshold=0.3)
        export_model(model, tmp_path, format=FORMATS[runtime])
        rows = compare_with_eager(model, tmp_path, runtime, SIZES)
        assert all(row["max_difference"] < 1e-4 * row["max_logit"] for row in rows)
        model.refine_threshold = None
        assert max(row["max_difference"] for row in compare_with_eager(model, tmp_path, runtime, SIZES)) > 0.1

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [name for name, host in HOSTS.items() if host.static])
    def test_pointrend_on_models_of_others(self, tmp_path, runtime, name):
        if FORMATS[runtime] == "onnx" and not HOSTS[name].onnx:
            pytest.skip("paddle2onnx 2.1.0 ends the process at this model; docs/deployment.md names them")
        model = build_pointrend(tmp_path, HOSTS[name])
        model.eval()
        export_model(model, tmp_path / "exported", format=FORMATS[runtime])
        for row in compare_with_eager(model, tmp_path / "exported", runtime, ((1, 128, 192), (2, 160, 128))):
            assert row["different_labels"] <= 1e-3


@pytest.mark.parametrize("file_format", FORMATS_HERE)
def test_deploy_file_says_what_prediction_needs(tmp_path, file_format):
    transforms = [{"type": "RGBToBGR"}, {"type": "Normalize", "mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.5]}]
    names, palette = list("abcde"), np.arange(15).reshape(5, 3)
    export_model(spread_model(), tmp_path, format=file_format, classes=names, palette=palette, transforms=transforms)
    deploy = yaml.safe_load((tmp_path / "deploy.yaml").read_text())
    files = {"onnx": ["model.onnx"], "paddle": ["model.json", "model.pdiparams"]}[file_format]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["deploy.yaml", *files])
    assert [deploy["Deploy"][key] for key in ("model", "params") if key in deploy["Deploy"]] == files
    assert deploy["Deploy"]["transforms"] == transforms
    assert (deploy["format"], deploy["output"], deploy["num_classes"]) == (file_format, "logits", 5)
    assert (deploy["classes"], deploy["palette"], deploy["channels"]) == (names, palette.tolist(), "bgr")
    np.testing.assert_allclose([deploy["mean"], deploy["std"]], [[51, 102, 153], [25.5, 51, 127.5]])


@pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx")
def test_onnx_file_has_names_and_installs_nothing(tmp_path, monkeypatch):
    import onnx

    monkeypatch.delenv("POLYGRAPHY_AUTOINSTALL_DEPS", raising=False)
    export_model(spread_model(), tmp_path, format="onnx", output="label")
    graph = onnx.load(str(tmp_path / "model.onnx")).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["x", "label"]
    assert "POLYGRAPHY_AUTOINSTALL_DEPS" not in export_module.os.environ


def test_a_failed_export_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    model = spread_model()
    export_model(model, tmp_path, format="paddle")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    interpolate = paddle.nn.functional.interpolate
    monkeypatch.setattr(model.point_head, "forward", lambda *maps: int("not a number"))
    model.num_subdivision_points = [10]
    with pytest.raises(ExportError, match="cannot trace PointRendSeg"):
        export_module._trace(export_module._Exported(model, "logits", None), tmp_path / "draft", 3, "paddle")
    with pytest.raises(ValueError, match="not a number"):
        export_model(model, tmp_path, format="paddle")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert paddle.nn.functional.interpolate is interpolate


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "tensorrt"}, ValueError, "format is 'tensorrt', expected 'paddle' or 'onnx'"),
        ({"format": "paddle", "output": "mask"}, ValueError, "output is 'mask'"),
        ({"format": "paddle", "classes": ["one"]}, ExportError, "5 classes; got 1 names and 5 colours"),
    ],
)
def test_wrong_options(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        export_model(spread_model(), tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_more_classes_than_8_bits_have(tmp_path):
    model = SemanticFPN(300, TinyBackbone(), fpn_channels=8, head_channels=8)
    with pytest.raises(ExportError, match="300 classes do not fit into 8-bit labels"):
        export_model(model, tmp_path, format="paddle", output="label")
    export_model(model, tmp_path, format="paddle")
    assert len(yaml.safe_load((tmp_path / "deploy.yaml").read_text())["palette"]) == 300


class TestCommand:
    @pytest.fixture
    def weights(self, tmp_path, pointrend_config):
        with paddle.utils.unique_name.guard():
            model = SegBuilder(Config(str(pointrend_config))).model
        paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
        return str(tmp_path / "model.pdparams")

    @pytest.mark.parametrize("file_format", FORMATS_HERE)
    def test_exports_compares_and_predict_takes_it(self, tmp_path, pointrend_config, weights, file_format, capsys):
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

    def test_an_export_that_computes_something_else_fails(
        self, tmp_path, pointrend_config, weights, capsys, monkeypatch
    ):
        from paddle_pointrend.cli import export

        row = {"size": [1, 2, 3], "different_labels": 0.01}
        monkeypatch.setattr(export, "compare_with_eager", lambda *args, **kwargs: [row])
        arguments = ["--config", str(pointrend_config), "--model_path", weights, "--save_dir", str(tmp_path / "e")]
        assert main(["export", *arguments]) == 1
        assert "does not compute what the model does" in capsys.readouterr().out

    def test_mistakes_are_one_line(self, tmp_path, pointrend_config, weights, capsys, monkeypatch):
        config = ["export", "--config", str(pointrend_config)]
        assert main(config) == 2
        assert "--model_path is missing" in capsys.readouterr().err
        monkeypatch.setattr(export_module.importlib.util, "find_spec", lambda name: None)
        save_dir = ["--save_dir", str(tmp_path / "e")]
        assert main([*config, "--model_path", weights, *save_dir, "--format", "onnx"]) == 2
        assert 'paddle2onnx is not installed: pip install -c constraints.txt -e ".[onnx]"' in capsys.readouterr().err
