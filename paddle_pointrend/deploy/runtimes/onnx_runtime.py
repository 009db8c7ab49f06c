"""Runs exported networks in ONNX Runtime, which is imported when one is loaded."""

from __future__ import annotations

import os

import numpy as np

from paddle_pointrend.deploy.runtimes.loading import existing_onnx_file, load
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
        import onnxruntime

        file = existing_onnx_file(folder, "model.onnx")
        names: list[str | int] = []  # of the input's dimensions, or their sizes

        def compile_for(shape):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = num_threads
            # A plan of all memory in advance takes half as much again, and no less time.
            options.enable_mem_pattern = False
            options.log_severity_level = 3  # errors; it warns of constants that paddle2onnx left over
            for name, size in zip(names, shape or ()):
                if isinstance(name, str):
                    options.add_free_dimension_override_by_name(name, size)
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            network_input = session.get_inputs()[0]
            names[:] = names or network_input.shape
            return lambda images: session.run(None, {network_input.name: np.ascontiguousarray(images)})[0]

        self._run = load(file, self.name, lambda: SizeWatcher(compile_for))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images)
