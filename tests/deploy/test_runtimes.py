"""Runtimes on exported folders of a tiny network, against eager Paddle."""

import os
import signal
import subprocess
import sys

import numpy as np
import paddle
import pytest
from tiny_export import NUM_CLASSES

from paddle_pointrend import Predictor
from paddle_pointrend.deploy.runtimes import (
    EagerRuntime,
    RuntimeLoadError,
    load_runtime,
    openvino_runtime,
    paddle_inference,
)
from paddle_pointrend.deploy.runtimes.large_batches import one_by_one
from paddle_pointrend.deploy.runtimes.size_watcher import SizeWatcher

FORMATS = {"openvino": "onnx", "onnxruntime": "onnx", "paddle-inference": "paddle"}
SIZES = [(2, 3, 33, 47), (1, 3, 64, 32), (2, 3, 33, 47)]


@pytest.fixture(params=FORMATS)
def name(request):
    package = {"paddle-inference": "paddle"}.get(request.param, request.param)
    pytest.importorskip(package)
    return request.param


def by_paddle(network, images):
    network.eval()
    with paddle.no_grad():
        return network(paddle.to_tensor(images))[0].numpy()


def test_logits_are_those_of_the_layer_in_float32_for_any_size_and_batch(tiny_exports, name):
    network, folders = tiny_exports
    runtime = load_runtime(name, folders[FORMATS[name], "logits"], num_threads=1)
    assert runtime.name == name
    for size in SIZES:
        images = np.random.randn(*size).astype(np.float32)
        found = runtime(images)
        assert found.dtype == np.float32
        # bfloat16, OpenVINO's default on some processors, would be 1e-2 off.
        np.testing.assert_allclose(found, by_paddle(network, images), rtol=1e-4, atol=1e-5)


def test_labels_are_of_8_bits(tiny_exports, name):
    network, folders = tiny_exports
    runtime = load_runtime(name, folders[FORMATS[name], "label"], num_threads=1)
    images = np.random.randn(2, 3, 33, 47).astype(np.float32)
    found, expected = runtime(images), by_paddle(network, images)
    assert found.dtype == np.uint8 and found.shape == (2, 33, 47)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-4
    assert clear.mean() > 0.9
    assert np.array_equal(found[clear], expected.argmax(axis=1)[clear])


def test_an_output_outlives_the_next_call(tiny_exports, name):
    _, folders = tiny_exports
    runtime = load_runtime(name, folders[FORMATS[name], "logits"], num_threads=1)
    first = runtime(np.zeros((1, 3, 16, 16), np.float32))
    kept = first.copy()
    second = runtime(np.ones((1, 3, 16, 16), np.float32))
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    first += 1  # it is the caller's own


def test_a_size_that_keeps_coming_is_compiled_for(tiny_exports, name):
    network, folders = tiny_exports
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


def test_with_a_patience_of_one_the_first_image_decides():
    compiled = []

    def compile_for(shape):
        compiled.append(shape)
        if shape == (0,):
            raise RuntimeError("no such size")
        return lambda images: images

    run, small, large = SizeWatcher(compile_for, patience=1), np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 8, 8))
    assert compiled == []
    for images in (small, small, large, small, small):
        assert run(images) is images
    assert compiled == [small.shape, None, small.shape]
    run = SizeWatcher(compile_for, patience=1)
    with pytest.raises(RuntimeError, match="no such size"):
        run(np.zeros(0))
    assert run(small) is small  # goes on after a failure


def test_large_images_of_a_batch_go_one_by_one():
    sizes = []

    def double(images):
        sizes.append(len(images))
        return images[:, 0] * 2

    for count, side, expected in ((3, 512, [1, 1, 1]), (1, 512, [1]), (3, 511, [3])):
        sizes.clear()
        images = np.random.randn(count, 3, side, side).astype(np.float32)
        assert np.array_equal(one_by_one(double)(images), images[:, 0] * 2)
        assert sizes == expected


def test_takes_images_whose_memory_is_not_in_order(tiny_exports, name):
    network, folders = tiny_exports
    runtime = load_runtime(name, folders[FORMATS[name], "logits"], num_threads=1)
    images = np.random.randn(1, 20, 24, 3).astype(np.float32).transpose(0, 3, 1, 2)[:, ::-1]
    np.testing.assert_allclose(runtime(images), by_paddle(network, images), rtol=1e-4, atol=1e-5)


def test_eager_runtime_takes_the_first_output_in_eval_mode(tiny_exports):
    network, _ = tiny_exports
    network.train()
    runtime = EagerRuntime(network, device="cpu")
    images = np.random.randn(2, 3, 20, 24).astype(np.float32)
    assert np.array_equal(runtime(images), by_paddle(network, images))
    assert runtime.name == "paddle"
    assert not network.training
    assert np.array_equal(EagerRuntime(paddle.nn.Softmax(1))(images), paddle.nn.Softmax(1)(paddle.to_tensor(images)))


def test_openvino_is_told_to_stay_in_float32_and_how_many_threads(tiny_exports):
    pytest.importorskip("openvino")
    _, folders = tiny_exports
    runtime = load_runtime("openvino", folders["onnx", "logits"], num_threads=1)
    runtime(np.zeros((1, 3, 16, 16), np.float32))
    model = runtime.network
    assert str(model.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert model.get_property("INFERENCE_NUM_THREADS") == 1


def test_openvino_computes_in_bfloat16_where_it_is_asked_to(tiny_exports):
    pytest.importorskip("openvino")
    if not openvino_runtime.has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    network, folders = tiny_exports
    images = np.random.randn(2, 3, 33, 47).astype(np.float32)
    found = load_runtime("openvino", folders["onnx", "logits"], precision="bf16")(images)
    expected = by_paddle(network, images)
    assert found.dtype == np.float32
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-4 < difference < 0.05  # 8 bits; float32 would be within 1e-6
    predictor = Predictor(folders["onnx", "logits"], precision="bf16")
    assert predictor.runtime.name == "openvino"
    predictor.predict(np.zeros((16, 16, 3), np.uint8))
    assert str(predictor.runtime.network.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'bfloat16'>"


def test_bfloat16_needs_a_processor_that_has_it(tiny_exports, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: False)
    with pytest.raises(RuntimeLoadError, match="this processor has no units for bfloat16"):
        load_runtime("openvino", tiny_exports[1]["onnx", "logits"], precision="bf16")


@pytest.mark.parametrize(
    ("version", "fails"), [("3.2.2", False), ("3.3.0", True), ("3.3.1", True), ("3.4.0", False), ("0.0.0", False)]
)
def test_placement_fails_in_the_versions_that_have_the_fault(version, fails):
    assert paddle_inference._placement_fails(version) == fails


def test_importing_the_package_imports_no_runtime():
    code = "import sys, paddle_pointrend; print(sorted({'onnxruntime', 'openvino', 'rasterio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_running_exported_networks_needs_no_paddle(tiny_exports, name):
    pytest.importorskip(name)
    _, folders = tiny_exports
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
def test_signals_are_handled_after_openvino_networks_are_gone(tiny_exports):
    pytest.importorskip("openvino")
    _, folders = tiny_exports
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


def test_classes_of_the_tiny_network_are_seen(tiny_exports):
    images = np.random.randn(1, 3, 64, 64).astype(np.float32)
    assert len(np.unique(by_paddle(tiny_exports[0], images).argmax(axis=1))) > 1
    assert by_paddle(tiny_exports[0], images).shape[1] == NUM_CLASSES
