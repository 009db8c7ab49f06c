"""Runs exported networks in ONNX Runtime, which is imported when one is loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import numpy as np

from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.runtimes.large_batches import one_by_one
from paddle_pointrend.deploy.runtimes.loading import Graph, existing_onnx_file, load
from paddle_pointrend.deploy.runtimes.size_watcher import SizeWatcher

GPU_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
_CPU_PROVIDER = "CPUExecutionProvider"
_log = logging.getLogger(__name__)


class ONNXRuntime:
    """ONNX Runtime on CPU; on device "gpu" with TensorRT and CUDA, those of them that it has, not measured."""

    name = "onnxruntime"
    format = "onnx"
    package = "onnxruntime"
    extra = "onnx"
    precisions = ("fp32", "int8")

    def __init__(self, folder: str | os.PathLike, *, num_threads: int, device: str = "cpu", precision: str = "fp32"):
        file = existing_onnx_file(folder, "model.onnx")
        providers = [_CPU_PROVIDER]
        if device == "gpu":
            import onnxruntime

            providers = [*gpu_providers(onnxruntime.get_available_providers()), _CPU_PROVIDER]
        names: list[str | int] = []  # of the input's dimensions, or their sizes

        def compile_for(shape):
            sizes = {name: size for name, size in zip(names, shape or ()) if isinstance(name, str)}
            session = _make_session(file, num_threads, sizes, providers)
            if shape is None and device == "gpu":
                _log_providers(providers, session.get_providers())
            network_input = session.get_inputs()[0]
            names[:] = names or network_input.shape
            return lambda images: session.run(None, {network_input.name: np.ascontiguousarray(images)})[0]

        run = load(file, self.name, lambda: SizeWatcher(compile_for))
        self._run = run if device == "gpu" else one_by_one(run)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images)

    @classmethod
    def load_graph(cls, folder: str | os.PathLike, name: str, *, num_threads: int) -> Graph:
        """Loads NAME.onnx of a folder."""
        file = existing_onnx_file(folder, f"{name}.onnx")
        session = load(file, cls.name, lambda: _make_session(file, num_threads, {}, [_CPU_PROVIDER]))
        names = [network_input.name for network_input in session.get_inputs()]

        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            return session.run(None, {name: np.ascontiguousarray(array) for name, array in zip(names, arrays)})

        return run


def _make_session(file, num_threads, sizes: Mapping[str, int], providers):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    # A plan of all memory in advance takes half as much again, and no less time.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors; it warns of constants that paddle2onnx left over
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    return onnxruntime.InferenceSession(str(file), options, providers=providers)


def gpu_providers(available: list[str]) -> list[str]:
    """Names those of GPU_PROVIDERS that an ONNX Runtime was built with. RuntimeLoadError if it is none."""
    providers = [name for name in GPU_PROVIDERS if name in available]
    if not providers:
        raise RuntimeLoadError(
            "device is 'gpu', but this onnxruntime is built for CPU: "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    return providers


def _log_providers(wanted, running):
    """Says what runs: ONNX Runtime leaves out, without an error, what does not start."""
    if not set(GPU_PROVIDERS) & set(running):
        _log.warning("onnxruntime runs on the CPU: CUDA did not start (no GPU, or CUDA and cuDNN are not found)")
        return
    missing = [name for name in wanted if name not in running]
    _log.info(f"onnxruntime runs with {', '.join(running)}" + (f"; {', '.join(missing)} did not start" * bool(missing)))
