"""paddle2onnx in a process of its own: what it writes, and what it cannot convert."""

import importlib.util
import os

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddle_pointrend.deploy import onnx_conversion
from paddle_pointrend.deploy.export import ExportError, export_model
from paddle_pointrend.deploy.tracing import save_graph
from paddle_pointrend.models.sizes import resize
from paddle_pointrend.points.selection import pixel_centres

needs_paddle2onnx = pytest.mark.skipif(importlib.util.find_spec("paddle2onnx") is None, reason="no paddle2onnx")


class Pointwise(paddle.nn.Layer):
    """The smallest network that has logits."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 2, 1)

    def forward(self, x):
        return [self.conv(x)]


@needs_paddle2onnx
def test_conversion_installs_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYGRAPHY_AUTOINSTALL_DEPS", raising=False)
    export_model(Pointwise(), tmp_path, format="onnx", output="label")
    assert "POLYGRAPHY_AUTOINSTALL_DEPS" not in os.environ


class Unpooled(paddle.nn.Layer):
    """A layer with an operator that paddle2onnx does not know."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 2, 1)

    def forward(self, x):
        return [F.max_unpool2d(*F.max_pool2d(self.conv(x), 2, return_mask=True), 2)]


@needs_paddle2onnx
def test_what_paddle2onnx_cannot_convert_is_an_error_and_not_the_end(tmp_path):
    with pytest.raises(
        ExportError, match=r"paddle2onnx cannot convert the model, format paddle may do: .*unsupported operators"
    ):
        export_model(Unpooled(), tmp_path, format="onnx")
    assert list(tmp_path.iterdir()) == []


@needs_paddle2onnx
def test_an_invalid_file_is_not_kept(tmp_path, monkeypatch):
    import onnx

    def refuse(model):
        raise onnx.checker.ValidationError("Nodes must be sorted")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(ExportError, match=r"paddle2onnx writes an invalid model, .*: Nodes must be sorted"):
        export_model(Pointwise(), tmp_path, format="onnx")
    assert list(tmp_path.iterdir()) == []


def test_reasons_of_paddle2onnx_are_the_lines_it_calls_errors_or_the_last():
    printed = "hello\n[ERROR][Paddle2ONNX] [OP: pool2d] Bad size.\n\n[ERROR][Paddle2ONNX] No.\nAborted\n"
    assert onnx_conversion._reasons(printed) == "[OP: pool2d] Bad size. No."
    assert onnx_conversion._reasons("Traceback\n  line 1\n\nValueError: no\nend\n") == "line 1 ValueError: no end"


class Centres(paddle.nn.Layer):
    """Centres of pixels of a map whose numbers float32 does not have."""

    size = (4096, 8192)

    def forward(self, indices):
        return pixel_centres(indices, self.size)


@needs_paddle2onnx
def test_centres_of_pixels_above_2_to_the_24_are_exact(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    save_graph(Centres(), tmp_path / "model", [paddle.static.InputSpec([None, None], "int64", "indices")], "onnx")
    onnx_conversion.convert_to_onnx(tmp_path, ["coords"])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    height, width = Centres.size
    edges = np.arange(2048, height) * width  # the first pixels of rows, and the last ones
    indices = np.concatenate([edges, edges + width - 1])[None]
    (coords,) = session.run(None, {"indices": indices})
    columns, rows = (coords[0].astype(np.float64) * [width, height] - 0.5).T
    np.testing.assert_array_equal(rows * width + columns, indices[0])


RESIZINGS = [{}, {"align_corners": True}, {"align_mode": 1}, {"mode": "nearest"}]


class Resized(paddle.nn.Layer):
    """A map resized to another one's size, inside a condition and outside, and doubled, in every way."""

    def forward(self, x, other):
        size = paddle.shape(other)[2:]
        outputs = []
        for options in RESIZINGS:
            options = {"mode": "bilinear", **options}
            outputs.append(F.interpolate(x, size=size, **options))
            outputs.append(F.interpolate(x, scale_factor=2, **options))
        return [*outputs, resize(x, size)]


@needs_paddle2onnx
def test_resizing_to_one_row_or_column_reads_what_paddle_reads(tmp_path):
    import onnx

    onnxruntime = pytest.importorskip("onnxruntime")
    spec = [paddle.static.InputSpec([None, 2, None, None], "float32", name) for name in ("x", "other")]
    save_graph(Resized(), tmp_path / "model", spec, "onnx")
    onnx_conversion.convert_to_onnx(tmp_path, [f"resized{i}" for i in range(2 * len(RESIZINGS) + 1)])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for size in [(8, 8), (5, 7), (1, 16), (1, 1)]:
        x = random.standard_normal((1, 2, *size), np.float32)
        for other_size in [(1, 1), (1, 7), (7, 1), (2, 3), (16, 16)]:
            other = np.zeros((1, 2, *other_size), np.float32)
            expected = Resized()(paddle.to_tensor(x), paddle.to_tensor(other))
            for tensor, array in zip(expected, session.run(None, {"x": x, "other": other}), strict=True):
                np.testing.assert_allclose(array, tensor.numpy(), rtol=0, atol=1e-5, err_msg=f"{size} {other_size}")
    # Of what is doubled ONNX Runtime's blocked layout asks for half_pixel.
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    modes = [attribute.s for node in nodes for attribute in node.attribute if attribute.name.startswith("coordinate")]
    assert [mode for mode in modes if b"half_pixel" in mode] == [b"pytorch_half_pixel", b"half_pixel"]
