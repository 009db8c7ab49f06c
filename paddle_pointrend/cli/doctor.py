"""paddle-pointrend doctor: versions, devices, runtimes, and what does not go together with the fix.

Runs where the other commands do not: it imports neither Paddle nor OpenCV in its own process.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys

from paddle_pointrend.diagnosis import MODULES, PACKAGE, Conflict, failed_imports, find_conflicts, installed_packages
from paddle_pointrend.environment import processors

_SHOWN = ("numpy", "opencv-python", "opencv-python-headless", "paddlepaddle", "paddlepaddle-gpu", "paddleseg", "onnx",
          "paddle2onnx", "onnxruntime", "openvino", "rasterio", "pycocotools", "torch")  # fmt: skip
# What tells the devices and providers of an installed package, in a process of its own.
_DEVICES = {
    "paddle": "import paddle; print(['cpu', *paddle.device.get_available_device()[1:]] "
    "if paddle.is_compiled_with_cuda() else ['cpu'])",
    "onnxruntime": "import onnxruntime; print(onnxruntime.get_available_providers())",
    "openvino": "import openvino; print(openvino.Core().available_devices)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds no arguments: the command has none."""


def run(args: argparse.Namespace) -> int:
    """Prints what was found; returns the exit code, 1 if something does not go together."""
    packages = installed_packages()
    print(f"Python {platform.python_version()} ({sys.executable}), {platform.platform()}")
    print(f"{PACKAGE} {packages.get(PACKAGE, 'is not installed, it runs from its folder')}")
    for name in _SHOWN:
        if name in packages:
            print(f"  {name} {packages[name]}")
    broken = failed_imports(packages)
    conflicts = [*find_conflicts(packages, _requirements()), *broken]
    print(f"Processors: {processors()}, {_flags()}")
    for module, names, _ in MODULES:
        if module in _DEVICES and any(name in packages for name in names):
            print(f"{module} runs on: {_ask(_DEVICES[module])}")
    for number, conflict in enumerate(conflicts, start=1):
        print(_in_words(number, conflict))
    print(f"{len(conflicts)} problems" if conflicts else "No problem is known of.")
    return 1 if conflicts else 0


def _requirements():
    try:
        return importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _in_words(number: int, conflict: Conflict) -> str:
    return f"Problem {number}: {conflict.problem}\n  Fix: {conflict.fix}"


def _ask(program):
    environment = {**os.environ, "GLOG_minloglevel": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            capture_output=True, text=True, timeout=120, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "no answer in two minutes"
    lines = done.stdout.strip().splitlines()
    return lines[-1] if done.returncode == 0 and lines else "it does not import"


def _flags():
    """The vector units that decide about speed, where Linux tells."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        return platform.machine()
    return " ".join(name for name in ("avx2", "avx512f", "amx_tile", "amx_bf16") if name in flags) or platform.machine()
