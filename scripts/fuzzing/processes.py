"""Runs a command in a fork of this process, which has imported Paddle already, and tells how it ended."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import resource
import sys
import traceback

from paddle_pointrend.cli import main as command

MEMORY = 16 * 2**30  # bytes of address space; what wants more fails instead of stopping the machine
# How an input may end. A training goes on where its config has iterations for years.
RIGHT = ("succeeded", "done in part", "refused in one line", "still training")
FAULTS = ("other exit", "traceback", "crash", "hang", "execution")


def run(arguments: list[str], folder: pathlib.Path, canary: pathlib.Path, seconds: float) -> str:
    """Runs a command in `folder`, its output in output.txt there; returns one of RIGHT or FAULTS."""
    log = folder / "output.txt"
    process = multiprocessing.get_context("fork").Process(target=_run, args=(arguments, folder, log))
    process.start()
    process.join(seconds)
    hangs = process.is_alive()
    if hangs:
        process.kill()
        process.join()
    text = log.read_text(errors="replace") if log.exists() else ""
    if canary.exists():
        canary.unlink()
        return "execution"
    if hangs:
        return "still training" if "[TRAIN]" in (text.strip().splitlines() or [""])[-1] else "hang"
    if process.exitcode is None or process.exitcode < 0:
        return "crash"
    if "Traceback (most recent call last)" in text:
        return "traceback"
    if process.exitcode == 2:
        return "refused in one line" if _ends_in_an_error(text) else "other exit"
    return {0: "succeeded", 1: "done in part"}.get(process.exitcode, "other exit")


def _ends_in_an_error(text):
    lines = text.strip().splitlines() or [""]
    return lines[-1].startswith("paddle-pointrend") and ": error: " in lines[-1]


def _run(arguments, folder, log):
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (open(descriptor, "w", buffering=1) for descriptor in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        code = command(arguments)
    except BaseException:
        traceback.print_exc()
        code = 3
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
