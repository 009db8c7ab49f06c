"""Runs exported networks in Paddle Inference, which is imported when one is loaded."""

from __future__ import annotations

import os

import numpy as np

from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.runtimes.large_batches import one_by_one
from paddle_pointrend.deploy.runtimes.loading import Graph, existing_file, load


class PaddleInferenceRuntime:
    """Paddle Inference: oneDNN on CPU; on device "gpu" as its documentation says, not measured."""

    name = "paddle-inference"
    format = "paddle"
    package = "paddle"
    extra = None
    precisions = ("fp32",)

    def __init__(self, folder: str | os.PathLike, *, num_threads: int, device: str = "cpu", precision: str = "fp32"):
        graph = self.load_graph(folder, "model", num_threads=num_threads, device=device)

        def run(images):
            return graph(images)[0]

        self._run = run if device == "gpu" else one_by_one(run)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self._run(images)

    @classmethod
    def load_graph(cls, folder: str | os.PathLike, name: str, *, num_threads: int, device: str = "cpu") -> Graph:
        """Loads NAME.json and NAME.pdiparams of a folder."""
        import paddle
        from paddle import inference

        if device == "gpu" and not paddle.is_compiled_with_cuda():
            raise RuntimeLoadError("device is 'gpu', but this Paddle is built for CPU: install paddlepaddle-gpu")
        file = existing_file(folder, f"{name}.json")
        config = inference.Config(str(file), str(existing_file(folder, f"{name}.pdiparams")))
        config.disable_glog_info()
        if device == "gpu":
            config.enable_use_gpu(256, 0)  # 256 MB to start with, GPU 0
        else:
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(10)  # oneDNN keeps primitives of every input size
            config.set_cpu_math_library_num_threads(num_threads)
            if _placement_fails(paddle.__version__):
                config.delete_pass("onednn_placement_pass")
        predictor = load(file, cls.name, lambda: inference.create_predictor(config))
        inputs = [predictor.get_input_handle(name) for name in predictor.get_input_names()]
        outputs = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

        def run(*arrays: np.ndarray) -> list[np.ndarray]:
            for place, array in zip(inputs, arrays):
                place.copy_from_cpu(np.ascontiguousarray(array))
            predictor.run()
            return [place.copy_to_cpu() for place in outputs]

        return run


def _placement_fails(version):
    """Tells whether this Paddle cannot run interpolations that onednn_placement_pass has put into oneDNN.

    "ConvertPirAttribute2RuntimeAttribute not support ArrayAttribute<DoubleAttribute>", at the first run, of sizes given
    as scale factors and as tensors alike: measured on 3.3.1; 3.3.0 has it and 3.2.2 and the develop branch do not,
    says https://github.com/PaddlePaddle/Paddle/issues/77340. Without the pass convolutions still run in oneDNN, and the
    results are float32's.
    """
    return version.split(".")[:2] == ["3", "3"]
