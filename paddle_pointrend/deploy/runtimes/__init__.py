"""Runtimes that run a network on images, one file each: ONNX Runtime, OpenVINO, Paddle Inference, eager Paddle.

Imports deploy_file.py; the package of a runtime is imported when one is made, not before.
"""

from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.runtimes.eager import EagerRuntime
from paddle_pointrend.deploy.runtimes.loading import Graph
from paddle_pointrend.deploy.runtimes.onnx_runtime import ONNXRuntime
from paddle_pointrend.deploy.runtimes.openvino_runtime import OpenVINORuntime, has_bfloat16
from paddle_pointrend.deploy.runtimes.paddle_inference import PaddleInferenceRuntime
from paddle_pointrend.deploy.runtimes.selection import (
    PRECISIONS,
    RUNTIMES,
    Runtime,
    check_installed,
    check_precision,
    exported_precision,
    fastest_runtime,
    installed_runtimes,
    load_graphs,
    load_runtime,
    runtimes_computing_in,
)

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "EagerRuntime",
    "Graph",
    "ONNXRuntime",
    "OpenVINORuntime",
    "PaddleInferenceRuntime",
    "Runtime",
    "RuntimeLoadError",
    "check_installed",
    "check_precision",
    "exported_precision",
    "fastest_runtime",
    "has_bfloat16",
    "installed_runtimes",
    "load_graphs",
    "load_runtime",
    "runtimes_computing_in",
]
