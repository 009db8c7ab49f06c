"""Runs commands in tests, in this process or one of their own, and reads what they leave."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from paddleseg.utils import train_profiler

import paddle_pointrend
from paddle_pointrend.cli import main
from paddle_pointrend.paddleseg import profiler

REPOSITORY = pathlib.Path(paddle_pointrend.__file__).parent.parent

needs_the_patched_profiler = pytest.mark.skipif(
    train_profiler.add_profiler_step is not profiler.add_profiler_step, reason="this PaddleSeg has its own profiler"
)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def losses(output):
    return re.findall(r"\[TRAIN\].* loss: ([\d.]+)", output)


def error_line(capsys):
    """The one line on stderr that a refused command leaves."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


def outputs(save_dir):
    return {str(file.relative_to(save_dir)) for file in save_dir.rglob("*") if file.is_file()}


def start(command, **environment):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    for name in [name for name, value in environment.items() if value is None]:
        del environment[name]
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=300
    )
