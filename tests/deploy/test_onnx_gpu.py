"""ONNX Runtime on a GPU, as far as it can be seen without one: providers, messages, and the operators of the export."""

import logging

import numpy as np
import pytest

from paddle_pointrend import PointRendSeg, SemanticFPN
from paddle_pointrend.deploy.export import export_model
from paddle_pointrend.deploy.runtimes import RuntimeLoadError, load_runtime
from paddle_pointrend.deploy.runtimes.onnx_runtime import gpu_providers
from paddle_pointrend.models import ResNet

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
# What exported networks use of the operators with kernels of the CUDA provider: domain ai.onnx in an older
# copy of https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md; it lacks GridSample.
ON_CUDA = set(
    """
    Add And ArgMax BatchNormalization Cast Concat Conv Div Equal Expand EyeLike Floor Gather Identity If Max MaxPool Min
    Mod Mul Pad Range ReduceMax Relu Reshape Resize Round ScatterElements Shape Slice Split Squeeze Sub TopK Unsqueeze
    """.split()  # noqa: SIM905
)
# And of those that TensorRT 9.2 takes: https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md
IN_TENSORRT = ON_CUDA | {"Constant", "GridSample"}
FALLS_BACK_TO_CPU = {"GridSample"}  # on CUDA without TensorRT


def operators(graph):
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from operators(attribute.g)


@pytest.mark.parametrize("output", ["logits", "label"])
def test_gpus_have_the_operators_of_an_export(tmp_path, output):
    model = PointRendSeg(SemanticFPN(5, ResNet(50), fpn_channels=16, head_channels=16), num_subdivision_points=64)
    export_model(model, tmp_path, format="onnx", output=output)
    graph = onnx.load(tmp_path / "model.onnx").graph
    used = set(operators(graph)) - {"Constant"}  # is folded before a provider sees it
    assert {"GridSample", "TopK", "ScatterElements", "If"} <= used
    assert used - ON_CUDA == FALLS_BACK_TO_CPU
    assert used <= IN_TENSORRT


def test_providers_are_those_of_the_build():
    assert gpu_providers([CUDA, CPU]) == [CUDA]
    assert gpu_providers([CPU, CUDA, TENSORRT]) == [TENSORRT, CUDA]
    with pytest.raises(RuntimeLoadError, match=r"built for CPU: .* pip install onnxruntime-gpu"):
        gpu_providers([CPU, "AzureExecutionProvider"])


@pytest.mark.parametrize(
    ("running", "message"),
    [
        ([CPU], "onnxruntime runs on the CPU: CUDA did not start"),
        ([CUDA, CPU], f"onnxruntime runs with {CUDA}, {CPU}; {TENSORRT} did not start"),
        ([TENSORRT, CUDA, CPU], f"onnxruntime runs with {TENSORRT}, {CUDA}, {CPU}"),
    ],
)
def test_says_what_runs(tiny_exports, monkeypatch, caplog, running, message):
    make, asked = onnxruntime.InferenceSession, []

    class Session:
        def __init__(self, file, options, providers):
            asked[:] = providers
            self._session = make(file, options, providers=[CPU])
            self.get_inputs, self.run = self._session.get_inputs, self._session.run

        def get_providers(self):
            return running

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU, CUDA, TENSORRT])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with caplog.at_level(logging.INFO, "paddle_pointrend"):
        runtime = load_runtime("onnxruntime", tiny_exports[1]["onnx", "logits"], device="gpu", num_threads=1)
    assert asked == [TENSORRT, CUDA, CPU]
    assert [record.getMessage() for record in caplog.records] == [m for m in caplog.messages if m.startswith(message)]
    assert len(caplog.records) == 1
    assert runtime(np.zeros((1, 3, 16, 16), np.float32)).shape[2:] == (16, 16)
