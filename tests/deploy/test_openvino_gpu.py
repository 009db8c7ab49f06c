"""OpenVINO on a GPU, as far as it can be seen without one: what is compiled for what, and messages."""

import logging

import numpy as np
import pytest

from paddle_pointrend.deploy.runtimes import RuntimeLoadError, load_runtime, openvino_runtime

pytest.importorskip("openvino")
IMAGES = np.random.default_rng(0).standard_normal((2, 3, 80, 96), "float32")


class Core:
    """The process's openvino.Core with other devices, which compiles for the CPU what is for one of them."""

    def __init__(self, devices):
        self.available_devices = devices
        self.compiled = []
        self._core = openvino_runtime._core()
        self.read_model = self._core.read_model

    def compile_model(self, model, place, options):
        self.compiled.append((place, options))
        return self._core.compile_model(model, place.replace("GPU,", ""), options)


def load(monkeypatch, caplog, folder, devices):
    core = Core(devices)
    monkeypatch.setattr(openvino_runtime, "_core", lambda: core)
    with caplog.at_level(logging.INFO, "paddle_pointrend"):
        runtime = load_runtime("openvino", folder, device="gpu", num_threads=1)
    return core, runtime


def test_runs_on_the_gpu_and_on_the_cpu_what_that_lacks(tiny_exports, monkeypatch, caplog):
    folder = tiny_exports[1]["onnx", "logits"]
    expected = load_runtime("openvino", folder, num_threads=1)(IMAGES)
    core, runtime = load(monkeypatch, caplog, folder, ["CPU", "GPU.0", "GPU.1"])
    np.testing.assert_allclose(runtime(IMAGES), expected, rtol=1e-4, atol=1e-5)
    # How many threads a GPU has is not an option of it; HETERO refuses those that a device does not have.
    assert core.compiled == [("HETERO:GPU,CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.messages[0].startswith("openvino runs on the GPU")


def test_runs_on_the_cpu_where_there_is_none(tiny_exports, monkeypatch, caplog):
    core, runtime = load(monkeypatch, caplog, tiny_exports[1]["onnx", "logits"], ["CPU"])
    assert runtime(IMAGES).shape[0] == 2
    assert [place for place, _ in core.compiled] == ["CPU"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith("openvino runs on the CPU: it finds no GPU")


def test_refuses_bfloat16_there(tiny_exports):
    with pytest.raises(RuntimeLoadError, match="bf16', which OpenVINO computes in on the CPU only"):
        load_runtime("openvino", tiny_exports[1]["onnx", "logits"], device="gpu", precision="bf16")
