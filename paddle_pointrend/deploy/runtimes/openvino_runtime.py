"""Runs exported networks in OpenVINO, which is imported when the first one is loaded."""

from __future__ import annotations

import functools
import logging
import os

import numpy as np

from paddle_pointrend.deploy.errors import ImageSizeError, RuntimeLoadError
from paddle_pointrend.deploy.runtimes.large_batches import one_by_one
from paddle_pointrend.deploy.runtimes.loading import Graph, existing_onnx_file, load
from paddle_pointrend.deploy.runtimes.openvino_graphs import keep_points_exact, resize_planes
from paddle_pointrend.deploy.runtimes.size_watcher import SizeWatcher

_PRECISION_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}  # of what is not quantised
_GPU = "HETERO:GPU,CPU"  # on the CPU what the GPU has no operators for
_log = logging.getLogger(__name__)
_SMALL = 64  # pixels: a network of stride 32 has windows that do not fit into maps of smaller images


class OpenVINORuntime:
    """OpenVINO on CPU; on device "gpu" on Intel's, not measured. Images and logits are float32 in every precision.

    bf16, bfloat16, rounds to 8 bits: labels change at boundaries.
    """

    name = "openvino"
    format = "onnx"
    package = "openvino"
    extra = "openvino"
    precisions = ("fp32", "bf16", "int8")

    def __init__(self, folder: str | os.PathLike, *, num_threads: int, device: str = "cpu", precision: str = "fp32"):
        file = existing_onnx_file(folder, "model.onnx")
        place = _place(device, precision)
        options = _compile_options(num_threads, precision, place)

        def compile_for(shape):
            model = _read(file, precision)
            if shape is not None:
                model.reshape(list(shape))
            self.network = compiled = _core().compile_model(model, place, options)

            def run(images):
                # A request of its own, so that the result is no memory that the next call writes, nor a copy.
                request = compiled.create_infer_request()
                return request.infer(np.ascontiguousarray(images), share_inputs=True, share_outputs=True)[0]

            return run

        self._file = file
        self._checked: set[tuple[int, ...]] = set()  # shapes of small images that the network takes
        load(file, self.name, lambda: _core().read_model(str(file)))
        # Compiled for any size it takes half as much memory again, which does not come back: so not before it must be.
        run = SizeWatcher(compile_for, patience=1)
        self._run = one_by_one(run) if place == "CPU" else run

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if min(images.shape[2:]) < _SMALL and images.shape not in self._checked:
            self._check_size(images.shape)
        return self._run(images)

    @classmethod
    def load_graph(cls, folder: str | os.PathLike, name: str, *, num_threads: int) -> Graph:
        """Loads NAME.onnx of a folder."""
        file = existing_onnx_file(folder, f"{name}.onnx")
        options = _compile_options(num_threads, "fp32")
        compiled = load(file, cls.name, lambda: _core().compile_model(_read(file, "fp32"), "CPU", options))

        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            outputs = compiled([np.ascontiguousarray(array) for array in arrays], share_outputs=False)
            return [outputs[i] for i in range(len(compiled.outputs))]

        return run

    def _check_size(self, shape):
        """Raises ImageSizeError for images of which a pooling window, say, would be larger than its map.

        A network of dynamic sizes then gives its last output once more, and wrong ones afterwards (OpenVINO 2026.4.1).
        """
        try:
            _core().read_model(str(self._file)).reshape(list(shape))
        except RuntimeError as error:
            height, width = shape[2:]
            raise ImageSizeError(
                f"OpenVINO cannot run this network on images of {width}x{height}: take larger ones, or onnxruntime"
            ) from error
        self._checked.add(shape)


def _read(file, precision):
    model = _core().read_model(str(file))
    resize_planes(model)
    if precision == "bf16":
        keep_points_exact(model)
    return model


def _place(device, precision):
    """Where OpenVINO computes, as it names it; says so where that is not what was asked for."""
    if device == "cpu":
        return "CPU"
    if precision == "bf16":
        raise RuntimeLoadError("precision is 'bf16', which OpenVINO computes in on the CPU only: take device 'cpu'")
    if not any(name.startswith("GPU") for name in _core().available_devices):
        _log.warning("openvino runs on the CPU: it finds no GPU (it takes Intel's, with their driver)")
        return "CPU"
    _log.info("openvino runs on the GPU, and on the CPU what the GPU has no operators for")
    return _GPU


def _compile_options(num_threads, precision, place="CPU"):
    """RuntimeLoadError where this processor does not compute in that precision."""
    if precision == "bf16" and not has_bfloat16():
        raise RuntimeLoadError(
            "precision is 'bf16', but this processor has no units for bfloat16 (AMX or AVX512_BF16): use 'fp32'"
        )
    # On processors with bfloat16 units OpenVINO rounds to it unless told otherwise, which changes label maps.
    options = {"INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    return options | ({"INFERENCE_NUM_THREADS": num_threads} if place == "CPU" else {})


def has_bfloat16() -> bool:
    """Tells whether this processor has units for bfloat16, as OpenVINO sees it."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def _core():
    """Makes the one OpenVINO Core of this process, never deleted.

    A Core's CPU plugin gives the thread a stack for signal handlers, and takes it away when the Core goes. Of two Cores
    that go in the order in which they came, the second leaves the thread with the first one's, which is unmapped: the
    next signal that Python handles ends the process (OpenVINO 2026.4.1 on processors with AVX-512).
    """
    import openvino

    return openvino.Core()
