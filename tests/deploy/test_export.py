"""Exported networks against eager Paddle, on every runtime that is installed."""

import importlib.util
import shutil

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml
from hosts import HOSTS, build_pointrend
from tiny_backbone import TinyBackbone

from paddle_pointrend import PointRendSeg, SemanticFPN
from paddle_pointrend.deploy import export as export_module
from paddle_pointrend.deploy.export import ExportError, compare_with_eager, export_model
from paddle_pointrend.deploy.runtimes import RUNTIMES, installed_runtimes, load_runtime
from paddle_pointrend.deploy.tracing import save_graph

EXPORTED_RUNTIMES = [name for name in installed_runtimes() if RUNTIMES[name].format]
HAS_ONNX = importlib.util.find_spec("paddle2onnx") is not None
FORMATS_HERE = ["paddle", pytest.param("onnx", marks=pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx"))]
# One whose sides the strides divide, a batch of one that they do not divide, and fewer pixels than points.
SIZES = ((1, 64, 96), (2, 61, 83), (3, 20, 20))
PADDED = {"num_classes": 5, "size_divisor": 8}
# What its export says about the data.
DESCRIPTION = {
    "classes": list("abcde"),
    "palette": np.arange(15).reshape(5, 3),
    "transforms": [{"type": "RGBToBGR"}, {"type": "Normalize", "mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.5]}],
}


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
    @pytest.mark.parametrize(
        ("options", "description"), [({"num_classes": 4}, {}), (PADDED, DESCRIPTION), ({"num_classes": 1}, {})]
    )
    def test_logits_are_eager_paddles_at_every_size(self, exported_once, runtime, options, description):
        model, folder = exported_once(spread_model, RUNTIMES[runtime].format, options, **description)
        for row in compare_with_eager(model, folder, runtime, SIZES):
            assert row["max_difference"] < 1e-4 * row["max_logit"]
            assert row["different_labels"] <= 1e-4
            assert row["max_logit"] > 1

    def test_labels_are_the_best_classes(self, exported_once, runtime):
        model, folder = exported_once(spread_model, RUNTIMES[runtime].format, output="label")
        run = load_runtime(runtime, folder)
        for shape in SIZES:
            images = np.random.randn(shape[0], 3, *shape[1:]).astype("float32")
            logits = model(paddle.to_tensor(images))[0].numpy()
            labels = run(images)
            assert labels.dtype == np.uint8 and labels.shape == shape
            assert (labels == logits.argmax(axis=1))[clearly(logits)].all()
        rows = compare_with_eager(model, folder, runtime, SIZES)
        assert all(row["different_labels"] < 1e-3 for row in rows)

    def test_output_size_resizes_the_logits(self, exported_once, runtime):
        model, folder = exported_once(spread_model, RUNTIMES[runtime].format, output_size=(30, 50))
        images = np.random.randn(2, 3, 64, 96).astype("float32")
        logits = model(paddle.to_tensor(images))[0]
        expected = F.interpolate(logits, [30, 50], mode="bilinear").numpy()
        np.testing.assert_allclose(load_runtime(runtime, folder)(images), expected, atol=1e-3)
        row = compare_with_eager(model, folder, runtime, SIZES[:1], output_size=(30, 50))[0]
        assert row["max_difference"] < 1e-4 * row["max_logit"]

    def test_a_threshold_stays_in_the_graph(self, exported_once, runtime, monkeypatch):
        model, folder = exported_once(spread_model, RUNTIMES[runtime].format, {"refine_threshold": 0.3})
        rows = compare_with_eager(model, folder, runtime, SIZES)
        assert all(row["max_difference"] < 1e-4 * row["max_logit"] for row in rows)
        monkeypatch.setattr(model, "refine_threshold", None)
        assert max(row["max_difference"] for row in compare_with_eager(model, folder, runtime, SIZES)) > 0.1

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [name for name, host in HOSTS.items() if host.static])
    def test_pointrend_on_third_party_models(self, tmp_path, runtime, name):
        if runtime in HOSTS[name].fails_on:
            pytest.skip("this runtime cannot do this model's export; docs/deployment.md says why")
        model = build_pointrend(tmp_path, HOSTS[name])
        model.eval()
        export_model(model, tmp_path / "exported", format=RUNTIMES[runtime].format)
        for row in compare_with_eager(model, tmp_path / "exported", runtime, ((1, 128, 192), (2, 160, 128))):
            assert row["different_labels"] <= 1e-3


@pytest.mark.parametrize("file_format", FORMATS_HERE)
def test_deploy_file_says_what_prediction_needs(exported_once, file_format):
    _, folder = exported_once(spread_model, file_format, PADDED, **DESCRIPTION)
    deploy = yaml.safe_load((folder / "deploy.yaml").read_text())
    files = {"onnx": ["model.onnx"], "paddle": ["model.json", "model.pdiparams"]}[file_format]
    assert sorted(path.name for path in folder.iterdir()) == sorted(["deploy.yaml", *files])
    assert [deploy["Deploy"][key] for key in ("model", "params") if key in deploy["Deploy"]] == files
    assert deploy["Deploy"]["transforms"] == DESCRIPTION["transforms"]
    assert (deploy["format"], deploy["output"], deploy["num_classes"]) == (file_format, "logits", 5)
    assert (deploy["classes"], deploy["palette"]) == (DESCRIPTION["classes"], DESCRIPTION["palette"].tolist())
    assert deploy["channels"] == "bgr"
    np.testing.assert_allclose([deploy["mean"], deploy["std"]], [[51, 102, 153], [25.5, 51, 127.5]])


@pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx")
def test_onnx_file_has_names(exported_once):
    import onnx

    _, folder = exported_once(spread_model, "onnx", output="label")
    graph = onnx.load(str(folder / "model.onnx")).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["x", "label"]


def test_a_failed_export_leaves_the_folder_as_it_was(exported_once, tmp_path, monkeypatch):
    model = spread_model()
    shutil.copytree(exported_once(spread_model, "paddle", output="label")[1], tmp_path, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    interpolate = F.interpolate
    monkeypatch.setattr(model.point_head, "forward", lambda *maps: int("not a number"))
    model.num_subdivision_points = [10]
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32", "x")]
    with pytest.raises(ExportError, match="cannot trace PointRendSeg"):
        save_graph(export_module._Exported(model, "logits", None), tmp_path / "draft", spec, "paddle")
    with pytest.raises(ValueError, match="not a number"):
        export_model(model, tmp_path, format="paddle")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert F.interpolate is interpolate


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
