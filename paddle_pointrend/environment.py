"""Makes the CPU settings that only count before Paddle is imported.

The package's __init__ calls prepare_command_line() first of all. In a program that imports paddle_pointrend
as a library nothing is set: it is the program's own affair.
"""

import importlib.metadata
import os
import pathlib
import sys

DOCTOR = "doctor"


def prepare_command_line() -> list[str]:
    """Does what `prepare` does, if this is the paddle-pointrend command on CPU.

    Returns:
        What was set, "NAME=value" strings; empty where nothing was.
    """
    if not _runs_command_line() or "paddle" in sys.modules or _uses_gpu():
        return []
    return prepare(processors())


def prepare(num_threads: int) -> list[str]:
    """Sets thread count and, on AMD, MKL's code path, for Paddle on CPU.

    Paddle takes one thread unless OMP_NUM_THREADS says otherwise, and the MKL in its CPU wheel takes a slow
    path on AMD processors unless MKL_DEBUG_CPU_TYPE=5. What the user has set stays.

    Returns:
        What was set, "NAME=value" strings.
    """
    wanted = {"OMP_NUM_THREADS": str(num_threads)}
    if _processor_is_amd():
        wanted["MKL_DEBUG_CPU_TYPE"] = "5"
    missing = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(missing)
    return [f"{name}={value}" for name, value in missing.items()]


def runs_doctor() -> bool:
    """Tells whether this is `paddle-pointrend doctor`, which has to run where Paddle or OpenCV do not import."""
    return _runs_command_line() and DOCTOR in sys.argv[1:2]


def _runs_command_line():
    program = pathlib.Path(sys.argv[0] if sys.argv else "")
    # While `python -m` looks for the module, the package is imported and argv[0] is "-m".
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] if program.name == "-m" else []
    return (
        program.name in ("paddle-pointrend", "paddle-pointrend.exe", "paddle-pointrend-script.py")
        or program.parts[-2:] == ("paddle_pointrend", "__main__.py")
        or module in (["paddle_pointrend"], ["paddle_pointrend.__main__"])
    )


def _uses_gpu(devices="/dev"):
    arguments = " ".join(sys.argv)
    if "--device cpu" in arguments or "--device=cpu" in arguments:
        return False
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(pathlib.Path(devices).glob("nvidia[0-9]*")) and _gpu_wheel_is_installed()


def _gpu_wheel_is_installed():
    return any(True for _ in importlib.metadata.distributions(name="paddlepaddle-gpu"))


def processors() -> int:
    """Counts the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor_is_amd(cpuinfo="/proc/cpuinfo"):
    try:
        return "AuthenticAMD" in pathlib.Path(cpuinfo).read_text()
    except OSError:
        return False
