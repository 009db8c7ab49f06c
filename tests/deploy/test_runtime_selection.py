"""Which runtime is chosen for an exported folder, and what load_runtime refuses."""

import paddle
import pytest
import yaml

from paddle_pointrend import Predictor
from paddle_pointrend.deploy.deploy_file import is_exported
from paddle_pointrend.deploy.runtimes import (
    PRECISIONS,
    RUNTIMES,
    RuntimeLoadError,
    fastest_runtime,
    installed_runtimes,
    load_runtime,
    runtimes_computing_in,
    selection,
)

FORMATS = {"openvino": "onnx", "onnxruntime": "onnx", "paddle-inference": "paddle"}


@pytest.fixture(params=FORMATS)
def name(request):
    pytest.importorskip(RUNTIMES[request.param].package)
    return request.param


def test_runtimes_are_known_by_their_names():
    assert {name: runtime.name for name, runtime in RUNTIMES.items()} == {name: name for name in RUNTIMES}
    assert {name: runtime.format for name, runtime in RUNTIMES.items() if runtime.format} == FORMATS
    assert PRECISIONS == ("fp32", "int8", "bf16")
    assert runtimes_computing_in("fp32") == tuple(RUNTIMES)
    assert runtimes_computing_in("bf16") == ("openvino",)
    assert runtimes_computing_in("int8") == ("openvino", "onnxruntime")


def test_bfloat16_needs_a_runtime_that_has_it(tiny_exports):
    _, folders = tiny_exports
    with pytest.raises(ValueError, match="onnxruntime does not compute in bf16 here, only openvino does"):
        load_runtime("onnxruntime", folders["onnx", "logits"], precision="bf16")
    with pytest.raises(RuntimeLoadError, match="is in format paddle, for bf16 export with --format onnx"):
        fastest_runtime(folders["paddle", "logits"], "bf16")
    assert fastest_runtime(folders["paddle", "logits"], "fp32") == "paddle-inference"
    for mistaken in (lambda folder: fastest_runtime(folder, "fp8"), lambda folder: Predictor(folder, precision="fp8")):
        with pytest.raises(ValueError, match="precision is 'fp8', expected one of fp32, int8, bf16"):
            mistaken(folders["onnx", "logits"])


def test_fastest_runtime_reads_the_folder_and_is_installed(tiny_exports, monkeypatch):
    _, folders = tiny_exports
    assert fastest_runtime(folders["paddle", "logits"]) == "paddle-inference"
    onnx = folders["onnx", "logits"]
    assert [name for name in RUNTIMES if FORMATS.get(name) == "onnx"] == ["onnxruntime", "openvino"]
    monkeypatch.setattr(selection, "installed_runtimes", lambda: ("onnxruntime", "openvino", "paddle"))
    assert fastest_runtime(onnx) == "onnxruntime"
    monkeypatch.setattr(selection, "installed_runtimes", lambda: ("openvino", "paddle"))
    assert fastest_runtime(onnx) == "openvino"
    monkeypatch.setattr(selection, "installed_runtimes", lambda: ("paddle-inference", "paddle"))
    with pytest.raises(RuntimeLoadError, match=r'openvino is not installed: pip install .*"\.\[openvino\]"'):
        fastest_runtime(onnx)
    with pytest.raises(RuntimeLoadError, match=r'openvino is not installed: pip install .*"\.\[openvino\]"'):
        load_runtime("openvino", onnx)


def test_installed_runtimes_are_fastest_first(monkeypatch):
    assert "paddle" in installed_runtimes()
    assert list(installed_runtimes()) == [name for name in RUNTIMES if name in installed_runtimes()]
    monkeypatch.setattr(
        selection.importlib.util, "find_spec", lambda package: object() if package == "paddle" else None
    )
    assert set(installed_runtimes()) == {"paddle-inference", "paddle"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("paddle", "paddle"), ValueError, "eager Paddle runs a layer"),
        (("tensorrt", "onnx"), ValueError, "runtime is 'tensorrt', expected one of openvino, onnxruntime"),
        (("openvino", "paddle"), RuntimeLoadError, "openvino reads onnx: export with --format onnx"),
        (("paddle-inference", "onnx"), RuntimeLoadError, "export with --format paddle"),
    ],
)
def test_refuses_a_runtime_that_does_not_read_the_folder(tiny_exports, arguments, error, message):
    name, file_format = arguments
    with pytest.raises(error, match=message):
        load_runtime(name, tiny_exports[1][file_format, "logits"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device is 'tpu', expected 'cpu' or 'gpu'"),
        ({"num_threads": 0}, "num_threads is 0, expected at least 1"),
    ],
)
def test_refuses_mistaken_options(tiny_exports, options, message):
    with pytest.raises(ValueError, match=message):
        load_runtime("onnxruntime", tiny_exports[1]["onnx", "logits"], **options)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle has GPUs")
def test_refuses_a_gpu_that_this_paddle_does_not_know(tiny_exports):
    with pytest.raises(RuntimeLoadError, match="this Paddle is built for CPU"):
        load_runtime("paddle-inference", tiny_exports[1]["paddle", "logits"], device="gpu")


def test_refuses_folders_that_are_not_whole(tiny_exports, name, tmp_path):
    assert not is_exported(tmp_path)
    with pytest.raises(RuntimeLoadError, match=r"holds no deploy.yaml, expected a folder that .* export wrote"):
        load_runtime(name, tmp_path)
    source = tiny_exports[1][FORMATS[name], "logits"] / "deploy.yaml"
    deploy = tmp_path / "deploy.yaml"
    deploy.write_text("[1")
    with pytest.raises(RuntimeLoadError, match=r"deploy\.yaml is not valid YAML"):
        load_runtime(name, tmp_path)
    content = yaml.safe_load(source.read_text())
    deploy.write_text(yaml.safe_dump({**content, "format": "torch"}))
    with pytest.raises(RuntimeLoadError, match="format is 'torch'"):
        load_runtime(name, tmp_path)
    del content["mean"]
    deploy.write_text(yaml.safe_dump(content))
    with pytest.raises(RuntimeLoadError, match=r"deploy\.yaml has no mean"):
        load_runtime(name, tmp_path)
    deploy.write_text(source.read_text())
    assert is_exported(tmp_path)
    with pytest.raises(RuntimeLoadError, match=r"holds no model\.(onnx|json)"):
        load_runtime(name, tmp_path)
    for file in ("model.onnx", "model.json", "model.pdiparams"):
        (tmp_path / file).write_bytes(b"{not a network")
    with pytest.raises(RuntimeLoadError, match=f"{name} cannot read .*model"):
        load_runtime(name, tmp_path)


@pytest.mark.parametrize(("variable", "threads"), [("3", 3), ("", None), ("0", None), ("2,1", None)])
def test_threads_are_those_of_openmp_or_all_processors(monkeypatch, variable, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert selection._default_threads() == (threads or selection.processors())
