"""Converts Paddle's inference format to ONNX, with paddle2onnx in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.onnx_edits import read_first_pixels

ONNX_OPSET = 18


def check_paddle2onnx() -> None:
    """Raises ExportError, which says how to install it, if paddle2onnx is not installed."""
    if importlib.util.find_spec("paddle2onnx") is None:
        raise ExportError('paddle2onnx is not installed: pip install -c constraints.txt -e ".[onnx]"')


def convert_to_onnx(folder: pathlib.Path, outputs: Sequence[str], name: str = "model") -> None:
    """Converts NAME.json and NAME.pdiparams in a folder to NAME.onnx, its outputs named as what they are.

    Args:
        folder: where the three files lie.
        outputs: their names.
        name: of the files.

    Raises:
        ExportError: paddle2onnx cannot convert the model, or what it writes is not valid.
    """
    import onnx

    files = [str(folder / name) for name in (f"{name}.json", f"{name}.pdiparams", f"draft-{name}.onnx")]
    # In a process of its own, because paddle2onnx 2.1.0 ends its process where it cannot convert an operator. Its
    # default optimizer installs packages when it runs, NumPy 2 among them.
    call = f"paddle2onnx.export(*sys.argv[1:], opset_version={ONNX_OPSET}, optimize_tool='None')"
    command = [sys.executable, "-c", f"import sys, paddle2onnx; {call}", *files]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode or not os.path.exists(files[-1]):
        raise ExportError(f"paddle2onnx cannot convert the model, format paddle may do: {_reasons(done.stdout)}")
    model = onnx.load(files[-1])
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"paddle2onnx writes an invalid model, format paddle may do: {error}") from error
    for output, output_name in zip(list(model.graph.output), outputs, strict=True):
        _rename_output(model.graph, output, output_name)
    read_first_pixels(model)
    onnx.save(model, str(folder / f"{name}.onnx"))


def _reasons(printed):
    """Picks what paddle2onnx calls errors in what it printed, or else the end of it."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line.split("]", 2)[-1].strip() for line in lines if line.startswith("[ERROR]")]
    return " ".join(errors or lines[-3:])


def _rename_output(graph, output, name):
    before = output.name
    output.name = name
    for node in graph.node:
        for names in (node.input, node.output):
            for i, value in enumerate(names):
                if value == before:
                    names[i] = name
