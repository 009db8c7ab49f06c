"""Runs exported networks in ONNX Runtime, which is imported when one is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from paddle_pointrend.deploy.runtimes.large_batches import one_by_one
from paddle_pointrend.deploy.runtimes.loading import Graph, existing_onnx_file, load
from paddle_pointrend.deploy.runtimes.size_watcher import SizeWatcher


class ONNXRuntime:
    """ONNX Runtime on CPU."""

    name = "onnxruntime"
    format = "onnx"
    package = "onnxruntime"
    extra = "onnx"
    precisions = ("fp32", "int8")
    devices = ("cpu",)

    def __init__(self, folder: str | os.PathLike, *, num_threads: int, device: str = "cpu", precision: str = "fp32"):
        file = existing_onnx_file(folder, "model.onnx")
        names: list[str | int] = []  # of the input's dimensions, or their sizes

        def compile_for(shape):
            sizes = {name: size for name, size in zip(names, shape or ()) if isinstance(name, str)}
            session = _make_session(file, num_threads, sizes)
            network_input = session.get_inputs()[0]
            names[:] = names or network_input.shape
            return lambda images: session.run(None, {network_input.name: np.ascontiguousarray(images)})[0]

        self._run = one_by_one(load(file, self.name, lambda: SizeWatcher(compile_for)))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images)

    @classmethod
    def load_graph(
        cls, folder: str | os.PathLike, name: str, *, num_threads: int, device: str = "cpu", precision: str = "fp32"
    ) -> Graph:
        """Loads NAME.onnx of a folder."""
        file = existing_onnx_file(folder, f"{name}.onnx")
        session = load(file, cls.name, lambda: _make_session(file, num_threads, {}))
        names = [network_input.name for network_input in session.get_inputs()]

        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            return session.run(None, {name: np.ascontiguousarray(array) for name, array in zip(names, arrays)})

        return run


def _make_session(file, num_threads, sizes: Mapping[str, int]):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    # A plan of all memory in advance takes half as much again, and no less time.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors; it warns of constants that paddle2onnx left over
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
