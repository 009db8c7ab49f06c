"""Runtimes that run a network on images: OpenVINO, ONNX Runtime, Paddle Inference and eager Paddle."""

from paddle_pointrend.deploy.runtimes.selection import (
    FORMATS,
    PRECISIONS,
    RUNTIMES,
    EagerRuntime,
    RuntimeLoadError,
    check_installed,
    check_precision,
    fastest_runtime,
    has_bfloat16,
    installed_runtimes,
    is_exported,
    load_runtime,
    read_deploy_file,
)

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "RUNTIMES",
    "EagerRuntime",
    "RuntimeLoadError",
    "check_installed",
    "check_precision",
    "fastest_runtime",
    "has_bfloat16",
    "installed_runtimes",
    "is_exported",
    "load_runtime",
    "read_deploy_file",
]
