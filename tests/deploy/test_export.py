"""Exported networks against eager Paddle, on every runtime that is installed; and the command."""

import importlib.util
import os

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import yaml
from conftest import TINY_CLASSES
from hosts import HOSTS, build_pointrend
from paddleseg.cvlibs import Config, SegBuilder
from tiny_backbone import TinyBackbone

from paddle_pointrend import PointRendSeg, SemanticFPN
from paddle_pointrend.cli import main
from paddle_pointrend.deploy import export as export_module
from paddle_pointrend.deploy import onnx_conversion, tracing
from paddle_pointrend.deploy.export import ExportError, compare_with_eager, export_model
from paddle_pointrend.deploy.runtimes import RUNTIMES, installed_runtimes, load_runtime

EXPORTED_RUNTIMES = [name for name in installed_runtimes() if RUNTIMES[name].format]
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


class PooledPyramid(paddle.nn.Layer):
    """Maps pooled to several numbers of cells, as in PSPNet, each brought back to the map's size and added."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 5, 3, padding=1)
        self.pools = paddle.nn.LayerList(paddle.nn.AdaptiveAvgPool2D(cells) for cells in (1, 2, (3, 4), 6))

    def forward(self, x):
        maps = self.conv(x)
        pooled = [pool(maps) for pool in self.pools]
        return [maps + sum(F.interpolate(cells, paddle.shape(x)[2:], mode="bilinear") for cells in pooled)]


@pytest.mark.parametrize("runtime", EXPORTED_RUNTIMES)
class TestEveryRuntime:
    def test_adaptive_pooling_of_any_size(self, tmp_path, runtime):
        model = PooledPyramid()
        export_model(model, tmp_path, format=RUNTIMES[runtime].format)
        for row in compare_with_eager(model, tmp_path, runtime, SIZES):
            assert row["max_difference"] < 1e-5 * row["max_logit"]

    # 4 classes fill a grid, 5 and 1 do not.
    @pytest.mark.parametrize(("num_classes", "options"), [(4, {}), (5, {"size_divisor": 8}), (1, {})])
    def test_logits_are_eager_paddles_at_every_size(self, tmp_path, runtime, num_classes, options):
        model = spread_model(num_classes, **options)
        export_model(model, tmp_path, format=RUNTIMES[runtime].format)
        for row in compare_with_eager(model, tmp_path, runtime, SIZES):
            assert row["max_difference"] < 1e-4 * row["max_logit"]
            assert row["different_labels"] <= 1e-4
            assert row["max_logit"] > 1

    def test_labels_are_the_best_classes(self, tmp_path, runtime):
        model = spread_model()
        export_model(model, tmp_path, format=RUNTIMES[runtime].format, output="label")
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
        export_model(model, tmp_path, format=RUNTIMES[runtime].format, output_size=(30, 50))
        images = np.random.randn(2, 3, 64, 96).astype("float32")
        logits = model(paddle.to_tensor(images))[0]
        expected = F.interpolate(logits, [30, 50], mode="bilinear").numpy()
        np.testing.assert_allclose(load_runtime(runtime, tmp_path)(images), expected, atol=1e-3)
        row = compare_with_eager(model, tmp_path, runtime, SIZES[:1], output_size=(30, 50))[0]
        assert row["max_difference"] < 1e-4 * row["max_logit"]

    def test_a_threshold_stays_in_the_graph(self, tmp_path, runtime):
        model = spread_model(refine_threshold=0.3)
        export_model(model, tmp_path, format=RUNTIMES[runtime].format)
        rows = compare_with_eager(model, tmp_path, runtime, SIZES)
        assert all(row["max_difference"] < 1e-4 * row["max_logit"] for row in rows)
        model.refine_threshold = None
        assert max(row["max_difference"] for row in compare_with_eager(model, tmp_path, runtime, SIZES)) > 0.1

    @pytest.mark.slow
    @pytest.mark.parametrize("name", [name for name, host in HOSTS.items() if host.static])
    def test_pointrend_on_models_of_others(self, tmp_path, runtime, name):
        if runtime in HOSTS[name].fails_on:
            pytest.skip("this runtime cannot do this model's export; docs/deployment.md says why")
        model = build_pointrend(tmp_path, HOSTS[name])
        model.eval()
        export_model(model, tmp_path / "exported", format=RUNTIMES[runtime].format)
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
    assert "POLYGRAPHY_AUTOINSTALL_DEPS" not in os.environ


@pytest.mark.parametrize("size", [(1, 1), (6, 7), (7, 6), (20, 13)])
@pytest.mark.parametrize("cells", [2, 3, (6, 5), [None, 4]])
def test_adaptive_pooling_as_products_takes_the_means_of_the_same_cells(size, cells):
    x = paddle.randn([2, 3, *size])
    products = tracing.with_products_for_cells(F.adaptive_avg_pool2d)(x, cells)
    np.testing.assert_allclose(products.numpy(), F.adaptive_avg_pool2d(x, cells).numpy(), rtol=1e-5, atol=1e-6)


class Normalised(paddle.nn.Layer):
    """A norm over three axes, as GCNet's, and one over the last."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 1)
        self.over_all, self.over_channels = paddle.nn.LayerNorm([4, 1, 1]), paddle.nn.LayerNorm(4)
        for norm in (self.over_all, self.over_channels):
            norm.weight.set_value(paddle.randn(norm.weight.shape))
            norm.bias.set_value(paddle.randn(norm.bias.shape))

    def forward(self, x):
        maps = self.conv(x)
        channels_last = self.over_channels(maps.transpose([0, 2, 3, 1]))
        return [self.over_all(F.adaptive_avg_pool2d(maps, 1)) + channels_last.transpose([0, 3, 1, 2])]


@pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx")
def test_layer_norms_of_any_axes_convert(tmp_path):
    model = Normalised()
    export_model(model, tmp_path, format="onnx")
    for row in compare_with_eager(model, tmp_path, None, SIZES):
        assert row["max_difference"] < 1e-5 * row["max_logit"]


class Unpooled(paddle.nn.Layer):
    """A layer with an operator that paddle2onnx does not know."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 2, 1)

    def forward(self, x):
        return [F.max_unpool2d(*F.max_pool2d(self.conv(x), 2, return_mask=True), 2)]


@pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx")
def test_what_paddle2onnx_cannot_convert_is_an_error_and_not_the_end(tmp_path):
    with pytest.raises(
        ExportError, match=r"paddle2onnx cannot convert the model, format paddle may do: .*unsupported operators"
    ):
        export_model(Unpooled(), tmp_path, format="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not HAS_ONNX, reason="no paddle2onnx")
def test_an_invalid_file_is_not_kept(tmp_path, monkeypatch):
    import onnx

    def refuse(model):
        raise onnx.checker.ValidationError("Nodes must be sorted")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(ExportError, match=r"paddle2onnx writes an invalid model, .*: Nodes must be sorted"):
        export_model(PooledPyramid(), tmp_path, format="onnx")
    assert list(tmp_path.iterdir()) == []


def test_reasons_of_paddle2onnx_are_the_lines_it_calls_errors_or_the_last():
    printed = "hello\n[ERROR][Paddle2ONNX] [OP: pool2d] Bad size.\n\n[ERROR][Paddle2ONNX] No.\nAborted\n"
    assert onnx_conversion._reasons(printed) == "[OP: pool2d] Bad size. No."
    assert onnx_conversion._reasons("Traceback\n  line 1\n\nValueError: no\nend\n") == "line 1 ValueError: no end"


def test_a_failed_export_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    model = spread_model()
    export_model(model, tmp_path, format="paddle")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    interpolate = F.interpolate
    monkeypatch.setattr(model.point_head, "forward", lambda *maps: int("not a number"))
    model.num_subdivision_points = [10]
    with pytest.raises(ExportError, match="cannot trace PointRendSeg"):
        export_module._trace(export_module._Exported(model, "logits", None), tmp_path / "draft", 3, "paddle")
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

        def fail(*args, **kwargs):
            raise RuntimeError("LayerNormalization:\n does not fit")

        monkeypatch.setattr(export, "compare_with_eager", fail)
        assert main(["export", *arguments]) == 1
        expected = "The exported network could not be run, to compare it: LayerNormalization: does not fit"
        assert expected in capsys.readouterr().out

    def test_mistakes_are_one_line(self, tmp_path, pointrend_config, weights, capsys, monkeypatch):
        config = ["export", "--config", str(pointrend_config)]
        assert main(config) == 2
        assert "--model_path is missing" in capsys.readouterr().err
        monkeypatch.setattr(onnx_conversion.importlib.util, "find_spec", lambda name: None)
        save_dir = ["--save_dir", str(tmp_path / "e")]
        assert main([*config, "--model_path", weights, *save_dir, "--format", "onnx"]) == 2
        assert 'paddle2onnx is not installed: pip install -c constraints.txt -e ".[onnx]"' in capsys.readouterr().err
