"""What is installed and what of it does not go together.

Imports the standard library alone: it runs where Paddle, NumPy or OpenCV do not import.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

PACKAGE = "paddle-pointrend"
PYTHONS = ((3, 10), (3, 12))  # the oldest and the newest that were tried
OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
PADDLES = ("paddlepaddle", "paddlepaddle-gpu")
# What is imported to see whether it can be: a module, the packages that bring it, whether it is needed.
MODULES = (
    ("numpy", ("numpy",), True),
    ("cv2", OPENCVS, True),
    ("paddle", PADDLES, True),
    ("paddleseg", ("paddleseg",), True),
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), False),
    ("openvino", ("openvino",), False),
    ("paddle2onnx", ("paddle2onnx",), False),
)
# What a failed import says, and what then helps.
_REMEDIES = (
    (r"libGL|libgthread|libglib", "apt-get install libgl1 libglib2.0-0"),
    (r"numpy.*(ABI|1\.x|_ARRAY_API)|multiarray failed", 'pip install "numpy<2"'),
    (r"libcud|libcublas|libnccl|libnvinfer", "install the CUDA libraries that this wheel asks for, or the CPU wheel"),
)


class Conflict(NamedTuple):
    """problem: a sentence. fix: a command, or what else to do."""

    problem: str
    fix: str


def installed_packages() -> dict[str, str]:
    """Finds the installed packages: dict from a name, in lower case with hyphens, to its version."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return found


def find_conflicts(
    packages: Mapping[str, str], requirements: Sequence[str], python: tuple[int, ...] = sys.version_info[:2]
) -> list[Conflict]:
    """Finds what is missing and what does not go together.

    Args:
        packages: as of `installed_packages`.
        requirements: this package's, as its metadata has them, extras too.
        python: the version of Python.

    Returns:
        The conflicts, the worst first; empty where none is known.
    """
    conflicts = []
    oldest, newest = PYTHONS
    if not oldest <= python[:2] <= newest:
        versions = " to ".join(".".join(map(str, version)) for version in PYTHONS)
        found = ".".join(map(str, python[:2]))
        conflicts.append(Conflict(f"Python {found} was not tried, Python {versions} were", "use one of these"))
    opencvs = [name for name in OPENCVS if name in packages]
    if len(opencvs) > 1:
        conflicts.append(
            Conflict(
                f"{' and '.join(opencvs)} write into the same folder cv2",
                f'pip uninstall -y {" ".join(opencvs)} && pip install "{_range("opencv-python", requirements)}"',
            )
        )
    paddles = [name for name in PADDLES if name in packages]
    if not paddles:
        conflicts.append(Conflict("PaddlePaddle is not installed", f'pip install "{_range(PADDLES[0], requirements)}"'))
    elif len(paddles) > 1:
        fix = "pip uninstall paddlepaddle"
        conflicts.append(Conflict("paddlepaddle and paddlepaddle-gpu write into the same folder paddle", fix))
    for requirement in requirements:
        name, allowed, is_extra = _parse(requirement)
        version = packages.get("paddlepaddle-gpu") if name in PADDLES and name not in packages else packages.get(name)
        if version is None:
            if not is_extra and not (name == "opencv-python" and opencvs):
                conflicts.append(Conflict(f"{name} is not installed", f'pip install "{name}{allowed}"'))
        elif not is_allowed(version, allowed):
            conflicts.append(Conflict(f"{name} is {version}, {allowed} is needed", _fix(name, allowed)))
    return conflicts


def is_allowed(version: str, allowed: str) -> bool:
    """Tells whether a version like "1.26.4" fulfils a range like ">=1.23,<2"."""
    number = _numbers(version)
    for operator, bound in re.findall(r"(>=|<=|==|<|>)([\d.]+)", allowed):
        other = _numbers(bound)
        shorter = number[: len(other)]
        if operator in ("<=", "=="):
            fulfilled = number == other or (operator == "<=" and number < other)
        else:
            fulfilled = {">=": number >= other, "<": number < other, ">": shorter > other}[operator]
        if not fulfilled:
            return False
    return True


def failed_imports(packages: Mapping[str, str], timeout: float = 120) -> list[Conflict]:
    """Imports what is installed, each module in a process of its own, which may end as it likes.

    Args:
        packages: as of `installed_packages`.
        timeout: seconds for one import.
    """
    conflicts = []
    for module, names, _ in MODULES:
        if any(name in packages for name in names):
            error = _import_error(module, timeout)
            if error is not None:
                remedy = next((fix for pattern, fix in _REMEDIES if re.search(pattern, error)), None)
                fix = remedy or f"pip install --force-reinstall {next(name for name in names if name in packages)}"
                conflicts.append(Conflict(f"import {module} fails: {error}", fix))
    return conflicts


def _import_error(module, timeout):
    """The last line that a failed import wrote, None where it works."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", f"import {module}"], capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return f"it takes longer than {timeout:.0f} seconds"
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    if done.returncode == 0:
        return None
    return lines[-1].strip() if lines and done.returncode > 0 else f"the process ends with code {done.returncode}"


def _parse(requirement):
    """(name, range, whether it belongs to an extra) of a line like `onnx<1.18,>=1.16; extra == "onnx"`."""
    found = re.match(r"\s*([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?", requirement)
    name, allowed = re.sub(r"[-_.]+", "-", found[1]).lower(), found[2].replace(" ", "")
    return name, allowed, "extra ==" in requirement


def _range(name, requirements):
    allowed = next((allowed for other, allowed, _ in map(_parse, requirements) if other == name), "")
    return f"{name}{allowed}"


def _fix(name, allowed):
    if name == "numpy":
        return f'pip install "numpy{allowed}" (OpenCV up to 4.6 is built for NumPy 1)'
    return f'pip install "{name}{allowed}"'


def _numbers(version):
    """A version's numbers without trailing zeros, so that 2 and 2.0.0 are equal."""
    numbers = [int(part) for part in re.findall(r"\d+", re.split(r"[+a-z-]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers
