"""paddle2onnx in a process of its own: what it writes, and what it cannot convert."""

import importlib.util
import os

import paddle
import paddle.nn.functional as F
import pytest

from paddle_pointrend.deploy import onnx_conversion
from paddle_pointrend.deploy.export import ExportError, export_model

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
