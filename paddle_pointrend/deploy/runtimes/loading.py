"""What every runtime of exported folders does while it loads one."""

from __future__ import annotations

import mmap
import os
import pathlib
import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from paddle_pointrend.deploy.deploy_file import FILE_NAME
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.errors import one_line

Loaded = TypeVar("Loaded")
Graph = Callable[..., list[np.ndarray]]  # of arrays, in the order in which the graph takes them, to all its outputs
# How ONNX's protobuf writes the key under which the name of another file stands: its length, 8 (which may be written
# with bytes that mean nothing), and the text.
_LOCATION = re.compile(rb"(\x08|\x88\x80*\x00)location")


def existing_file(folder: str | os.PathLike, name: str) -> pathlib.Path:
    """Returns the path of an exported folder's file. RuntimeLoadError if it is not there."""
    file = pathlib.Path(folder) / name
    if not file.is_file():
        raise RuntimeLoadError(f"{folder} holds no {name}, which its {FILE_NAME} promises: export it again")
    return file


def existing_onnx_file(folder: str | os.PathLike, name: str) -> pathlib.Path:
    """As `existing_file`, of a file that names no others: ONNX can point to tensors in any file of the machine.

    Raises:
        RuntimeLoadError: also if it does; no export does that.
    """
    file = existing_file(folder, name)
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size == 0:
            raise RuntimeLoadError(f"{file} is empty: export it again")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if _LOCATION.search(content):
                raise RuntimeLoadError(f"{file} is refused: its tensors are in other files; export it again")
    return file


def load(file: pathlib.Path, runtime: str, make: Callable[[], Loaded]) -> Loaded:
    """Returns make(). RuntimeLoadError, which names the file and the runtime, for whatever it raises."""
    try:
        return make()
    except Exception as error:  # each runtime has exceptions of its own for a damaged file
        raise RuntimeLoadError(f"{runtime} cannot read {file}: {one_line(error)}") from error
