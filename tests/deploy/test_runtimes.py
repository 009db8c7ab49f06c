import os
import signal
import subprocess
import sys

import numpy as np
import paddle
import pytest
import yaml
from tiny_export import NUM_CLASSES, TinyNetwork, write_export

from paddle_pointrend import Predictor
from paddle_pointrend.deploy.deploy_file import is_exported
from paddle_pointrend.deploy.runtimes import (
    RUNTIMES,
    EagerRuntime,
    RuntimeLoadError,
    fastest_runtime,
    installed_runtimes,
    load_runtime,
    openvino_runtime,
    paddle_inference,
    selection,
)
from paddle_pointrend.deploy.runtimes.size_watcher import SizeWatcher

FORMATS = {"openvino": "onnx", "onnxruntime": "onnx", "paddle-inference": "paddle"}
SIZES = [(2, 3, 33, 47), (1, 3, 64, 32), (2, 3, 33, 47)]


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """(network, {(format, output): folder})."""
    folder = tmp_path_factory.mktemp("exports")
    paddle.seed(0)
    networks = {"logits": TinyNetwork(), "label": TinyNetwork(labels=True)}
    networks["label"].set_state_dict(networks["logits"].state_dict())
    folders = {
        (file_format, output): write_export(folder / file_format / output, network, file_format)
        for file_format in ("onnx", "paddle")
        for output, network in networks.items()
    }
    return networks["logits"], folders


@pytest.fixture(params=FORMATS)
def name(request):
    package = {"paddle-inference": "paddle"}.get(request.param, request.param)
    pytest.importorskip(package)
    return request.param


def by_paddle(network, images):
    network.eval()
    with paddle.no_grad():
        return network(paddle.to_tensor(images))[0].numpy()


def test_logits_are_those_of_the_layer_in_float32_for_any_size_and_batch(exports, name):
    network, folders = exports
    runtime = load_runtime(name, folders[FORMATS[name], "logits"], num_threads=1)
    assert runtime.name == name
    for size in SIZES:
        images = np.random.randn(*size).astype(np.float32)
        found = runtime(images)
        assert found.dtype == np.float32
        # bfloat16, OpenVINO's default on some processors, would be 1e-2 off.
        np.testing.assert_allclose(found, by_paddle(network, images), rtol=1e-4, atol=1e-5)


def test_labels_are_of_8_bits(exports, name):
    network, folders = exports
    runtime = load_runtime(name, folders[FORMATS[name], "label"], num_threads=1)
    images = np.random.randn(2, 3, 33, 47).astype(np.float32)
    found, expected = runtime(images), by_paddle(network, images)
    assert found.dtype == np.uint8 and found.shape == (2, 33, 47)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-4
    assert clear.mean() > 0.9
    assert np.array_equal(found[clear], expected.argmax(axis=1)[clear])


def test_an_output_outlives_the_next_call(exports, name):
    _, folders = exports
    runtime = load_runtime(name, folders[FORMATS[name], "logits"], num_threads=1)
    first = runtime(np.zeros((1, 3, 16, 16), np.float32))
    kept = first.copy()
    second = runtime(np.ones((1, 3, 16, 16), np.float32))
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    first += 1  # it is the caller's own


def test_a_size_that_keeps_coming_is_compiled_for(exports, name):
    network, folders = exports
    runtime = load_runtime(name, folders[FORMATS[name], "logits"], num_threads=1)
    shapes = [(1, 3, 16, 24)] * 4 + [(2, 3, 20, 16)] + [(1, 3, 16, 24)] * 7
    for shape in shapes:
        images = np.random.randn(*shape).astype(np.float32)
        np.testing.assert_allclose(runtime(images), by_paddle(network, images), rtol=1e-4, atol=1e-5)


def test_compiles_for_the_third_of_a_size_and_later_after_a_change():
    compiled = []

    def compile_for(shape):
        compiled.append(shape)
        return lambda images: images

    run, small, large = SizeWatcher(compile_for), np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 8, 8))
    for images in (small, large, small, small):
        assert run(images) is images
    assert compiled == [None]
    run(small)
    run(small)
    assert compiled == [None, small.shape]
    for images in (large, *[small] * 5):
        run(images)
    assert compiled == [None, small.shape, None]  # after a change it waits for six
    run(small)
    assert compiled == [None, small.shape, None, small.shape]


def test_takes_images_whose_memory_is_not_in_order(exports, name):
    network, folders = exports
    runtime = load_runtime(name, folders[FORMATS[name], "logits"], num_threads=1)
    images = np.random.randn(1, 20, 24, 3).astype(np.float32).transpose(0, 3, 1, 2)[:, ::-1]
    np.testing.assert_allclose(runtime(images), by_paddle(network, images), rtol=1e-4, atol=1e-5)


def test_eager_runtime_takes_the_first_output_in_eval_mode(exports):
    network, _ = exports
    network.train()
    runtime = EagerRuntime(network, device="cpu")
    images = np.random.randn(2, 3, 20, 24).astype(np.float32)
    assert np.array_equal(runtime(images), by_paddle(network, images))
    assert runtime.name == "paddle"
    assert not network.training
    assert np.array_equal(EagerRuntime(paddle.nn.Softmax(1))(images), paddle.nn.Softmax(1)(paddle.to_tensor(images)))


def test_openvino_is_told_to_stay_in_float32_and_how_many_threads(exports):
    pytest.importorskip("openvino")
    _, folders = exports
    model = load_runtime("openvino", folders["onnx", "logits"], num_threads=1).network
    assert str(model.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert model.get_property("INFERENCE_NUM_THREADS") == 1


def test_openvino_computes_in_bfloat16_where_it_is_asked_to(exports):
    pytest.importorskip("openvino")
    if not openvino_runtime.has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    network, folders = exports
    images = np.random.randn(2, 3, 33, 47).astype(np.float32)
    found = load_runtime("openvino", folders["onnx", "logits"], precision="bf16")(images)
    expected = by_paddle(network, images)
    assert found.dtype == np.float32
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference < 0.05  # 8 bits; float32 would be within 1e-6
    predictor = Predictor(folders["onnx", "logits"], precision="bf16")
    assert predictor.runtime.name == "openvino"
    assert str(predictor.runtime.network.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'bfloat16'>"


def test_bfloat16_needs_a_processor_that_has_it(exports, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: False)
    with pytest.raises(RuntimeLoadError, match="this processor has no units for bfloat16"):
        load_runtime("openvino", exports[1]["onnx", "logits"], precision="bf16")


def test_bfloat16_needs_a_runtime_that_has_it(exports):
    _, folders = exports
    with pytest.raises(ValueError, match="onnxruntime does not compute in bf16 here, only openvino does"):
        load_runtime("onnxruntime", folders["onnx", "logits"], precision="bf16")
    with pytest.raises(RuntimeLoadError, match="is in format paddle, for bf16 export with --format onnx"):
        fastest_runtime(folders["paddle", "logits"], "bf16")
    assert fastest_runtime(folders["paddle", "logits"], "fp32") == "paddle-inference"
    for mistaken in (lambda folder: fastest_runtime(folder, "fp8"), lambda folder: Predictor(folder, precision="fp8")):
        with pytest.raises(ValueError, match="precision is 'fp8', expected one of fp32, bf16"):
            mistaken(folders["onnx", "logits"])


def test_fastest_runtime_reads_the_folder_and_is_installed(exports, monkeypatch):
    _, folders = exports
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
def test_refuses_a_runtime_that_does_not_read_the_folder(exports, arguments, error, message):
    name, file_format = arguments
    with pytest.raises(error, match=message):
        load_runtime(name, exports[1][file_format, "logits"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device is 'tpu', expected 'cpu' or 'gpu'"),
        ({"device": "gpu"}, "onnxruntime runs on device 'cpu' here"),
        ({"num_threads": 0}, "num_threads is 0, expected at least 1"),
    ],
)
def test_refuses_mistaken_options(exports, options, message):
    with pytest.raises(ValueError, match=message):
        load_runtime("onnxruntime", exports[1]["onnx", "logits"], **options)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle has GPUs")
def test_refuses_a_gpu_that_this_paddle_does_not_know(exports):
    with pytest.raises(RuntimeLoadError, match="this Paddle is built for CPU"):
        load_runtime("paddle-inference", exports[1]["paddle", "logits"], device="gpu")


def test_refuses_folders_that_are_not_whole(exports, name, tmp_path):
    assert not is_exported(tmp_path)
    with pytest.raises(RuntimeLoadError, match=r"holds no deploy.yaml, expected a folder that .* export wrote"):
        load_runtime(name, tmp_path)
    source = exports[1][FORMATS[name], "logits"] / "deploy.yaml"
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


@pytest.mark.parametrize(
    ("version", "fails"), [("3.2.2", False), ("3.3.0", True), ("3.3.1", True), ("3.4.0", False), ("0.0.0", False)]
)
def test_placement_fails_in_the_versions_that_have_the_fault(version, fails):
    assert paddle_inference._placement_fails(version) == fails


@pytest.mark.parametrize(("variable", "threads"), [("3", 3), ("", None), ("0", None), ("2,1", None)])
def test_threads_are_those_of_openmp_or_all_processors(monkeypatch, variable, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert selection._default_threads() == (threads or selection.processors())


def test_importing_the_package_imports_no_runtime():
    code = "import sys, paddle_pointrend; print(sorted({'onnxruntime', 'openvino', 'rasterio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_running_exported_networks_needs_no_paddle(exports, name):
    pytest.importorskip(name)
    _, folders = exports
    code = (
        "import sys, numpy; from paddle_pointrend import Predictor;"
        f"predictor = Predictor({str(folders['onnx', 'logits'])!r}, runtime={name!r});"
        "labels = predictor.predict(numpy.zeros([8, 9, 3], 'uint8'));"
        "print(labels.shape, sorted({'paddle', 'paddleseg'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PADDLE_POINTREND_RUNTIME_ONLY": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip().splitlines()[-1] == "(8, 9) []"


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals are POSIX's")
def test_signals_are_handled_after_openvino_networks_are_gone(exports):
    pytest.importorskip("openvino")
    _, folders = exports
    code = (
        "import faulthandler, gc, os, signal; from paddle_pointrend.deploy.runtimes import load_runtime;"
        "faulthandler.enable();"  # gives the thread a stack for signal handlers, as pytest does
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'));"
        f"first, second = (load_runtime('openvino', {str(folders['onnx', 'logits'])!r}) for _ in range(2));"
        "del first; gc.collect(); del second; gc.collect();"
        "os.kill(os.getpid(), signal.SIGUSR1)"
    )
    environment = {**os.environ, "PADDLE_POINTREND_RUNTIME_ONLY": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.split()) == (0, ["handled"])


def test_classes_of_the_tiny_network_are_seen(exports):
    images = np.random.randn(1, 3, 64, 64).astype(np.float32)
    assert len(np.unique(by_paddle(exports[0], images).argmax(axis=1))) > 1
    assert by_paddle(exports[0], images).shape[1] == NUM_CLASSES
