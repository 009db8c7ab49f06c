"""Chooses and loads a runtime for an exported folder."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from paddle_pointrend.deploy.deploy_file import DeployFile
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.runtimes.eager import EagerRuntime
from paddle_pointrend.deploy.runtimes.loading import Graph
from paddle_pointrend.deploy.runtimes.onnx_runtime import ONNXRuntime
from paddle_pointrend.deploy.runtimes.openvino_runtime import OpenVINORuntime
from paddle_pointrend.deploy.runtimes.paddle_inference import PaddleInferenceRuntime
from paddle_pointrend.environment import processors


class Runtime(Protocol):
    """What all runtimes are, and are called with: images float32 [N, C, H, W] in.

    Logits float32 [N, K, H, W] or labels uint8 [N, H, W] come out, as the network was exported; the array is the
    caller's own.
    """

    name: str  # in RUNTIMES
    format: str | None  # of exported folder that it reads; eager Paddle runs a layer, not a folder
    package: str  # that must be installed
    extra: str | None  # of this package that installs it; Paddle comes by its own installation guide
    precisions: tuple[str, ...]  # that it computes in, the default first

    def __call__(self, images: np.ndarray) -> np.ndarray: ...


# Fastest first, as docs/benchmarks.md measured.
RUNTIMES = {runtime.name: runtime for runtime in (ONNXRuntime, OpenVINORuntime, PaddleInferenceRuntime, EagerRuntime)}
PRECISIONS = tuple(dict.fromkeys(precision for runtime in RUNTIMES.values() for precision in runtime.precisions))
_FASTEST_OF = {"int8": (OpenVINORuntime.name,)}  # precision -> the runtimes that come first there


def installed_runtimes() -> tuple[str, ...]:
    """Names the RUNTIMES whose packages are installed, fastest first."""
    return tuple(name for name in RUNTIMES if importlib.util.find_spec(RUNTIMES[name].package) is not None)


def check_installed(name: str) -> None:
    """Raises RuntimeLoadError, which says how to install it, if one of RUNTIMES is not installed."""
    if name not in installed_runtimes():
        raise RuntimeLoadError(_install_hint(name))


def runtimes_computing_in(precision: str) -> tuple[str, ...]:
    """Names the RUNTIMES that compute in one of PRECISIONS, fastest first. ValueError for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    names = dict.fromkeys([*_FASTEST_OF.get(precision, ()), *RUNTIMES])
    return tuple(name for name in names if precision in RUNTIMES[name].precisions)


def check_precision(name: str, precision: str) -> None:
    """Raises ValueError if one of RUNTIMES does not compute in that precision, one of PRECISIONS."""
    able = runtimes_computing_in(precision)
    if name not in able:
        raise ValueError(f"{name} does not compute in {precision} here, only {', '.join(able)} does")


def exported_precision(folder: str | os.PathLike, precision: str | None = None) -> str:
    """Names the precision that an exported folder's network computes in: the one that is asked for, or its own.

    Raises:
        RuntimeLoadError: no such folder, one in int8 that is asked for another precision, or int8 of one that is not.
    """
    own = DeployFile.read(folder).precision
    if precision in (None, own):
        return own
    if own == "int8":
        raise RuntimeLoadError(f"{folder} is in int8, for {precision} export without --precision int8")
    if precision == "int8":
        raise RuntimeLoadError(
            f"{folder} is not quantised, for int8 export with --precision int8 --calibration FOLDER_OF_IMAGES"
        )
    return precision


def fastest_runtime(folder: str | os.PathLike, precision: str | None = None) -> str:
    """Names the fastest installed runtime that reads an exported folder and computes in that precision.

    Raises:
        RuntimeLoadError: as of `exported_precision`, or none of the runtimes that read its format is installed.
        ValueError: an unknown precision.
    """
    precision = exported_precision(folder, precision)
    file_format = DeployFile.read(folder).format
    readers = [name for name in runtimes_computing_in(precision) if RUNTIMES[name].format == file_format]
    if not readers:
        raise RuntimeLoadError(f"{folder} is in format {file_format}, for {precision} export with --format onnx")
    for name in readers:
        if name in installed_runtimes():
            return name
    raise RuntimeLoadError(f"{folder} is in format {file_format}, {_install_hint(readers[-1])}")


def load_runtime(
    name: str,
    folder: str | os.PathLike,
    *,
    num_threads: int | None = None,
    device: str = "cpu",
    precision: str | None = None,
) -> Runtime:
    """Loads the network of an exported folder into a runtime.

    Args:
        name: "openvino", "onnxruntime" or "paddle-inference".
        folder: what `paddle-pointrend export` wrote, in the format that the runtime reads: onnx for the first two,
            paddle for the last.
        num_threads: threads on CPU; by default OMP_NUM_THREADS, and where that is not set the processors that this
            process may use.
        device: "cpu", or "gpu", written as the runtimes' documentation says and not measured: NVIDIA's for onnxruntime
            and paddle-inference, Intel's for openvino.
        precision: None for that of the export, "fp32" or "int8". Of a float32 network also "bf16" for openvino on a
            processor that has units for bfloat16: several times as fast with AMX, and labels differ where two classes
            are about equal (docs/benchmarks.md).

    Raises:
        RuntimeLoadError: a runtime that is not installed, a folder that it does not read or in another precision than
            asked for, bf16 on a processor without bfloat16.
        ValueError: an unknown runtime, device or precision, or two that do not go together; num_threads below 1.
    """
    runtime, options = _checked(name, folder, num_threads, device, precision)
    return runtime(folder, **options)


def load_graphs(
    name: str, folder: str | os.PathLike, graphs: Sequence[str], *, num_threads: int | None = None
) -> list[Graph]:
    """Loads some graphs of an exported folder on the CPU; arguments and errors as of load_runtime."""
    runtime, options = _checked(name, folder, num_threads, "cpu", "fp32")
    return [runtime.load_graph(folder, graph, num_threads=options["num_threads"]) for graph in graphs]


def _checked(name, folder, num_threads, device, precision):
    """The runtime, one of RUNTIMES, and what it is to be loaded with; RuntimeLoadError and ValueError."""
    runtime = _reader(name)
    if device not in ("cpu", "gpu"):
        raise ValueError(f"device is {device!r}, expected 'cpu' or 'gpu'")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads is {num_threads}, expected at least 1")
    if precision is not None:
        check_precision(name, precision)
    deploy = DeployFile.read(folder)
    precision = exported_precision(folder, precision)
    file_format = deploy.format
    if file_format != runtime.format:
        raise RuntimeLoadError(
            f"{folder} is in format {file_format}, {name} reads {runtime.format}: export with --format {runtime.format}"
        )
    check_installed(name)
    deploy.check_files(folder)
    return runtime, {"num_threads": num_threads or _default_threads(), "device": device, "precision": precision}


def _reader(name):
    """One of RUNTIMES that reads exported folders."""
    readers = {other: runtime for other, runtime in RUNTIMES.items() if runtime.format is not None}
    if name not in readers:
        eager = "; eager Paddle runs a layer, see EagerRuntime" if name == EagerRuntime.name else ""
        expected = ", ".join(sorted(readers, key=len))
        raise ValueError(f"runtime is {name!r}, expected one of {expected}{eager}")
    return readers[name]


def _default_threads():
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else processors()


def _install_hint(name):
    extra = RUNTIMES[name].extra
    if extra is None:
        return f"{name} is not installed: see PaddlePaddle's installation guide"
    return f'{name} is not installed: pip install -c constraints.txt -e ".[{extra}]"'
