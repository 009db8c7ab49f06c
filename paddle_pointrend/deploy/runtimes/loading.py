"""What every runtime of exported folders does while it loads one."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import TypeVar

from paddle_pointrend.deploy.deploy_file import FILE_NAME
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.errors import one_line

Loaded = TypeVar("Loaded")


def existing_file(folder: str | os.PathLike, name: str) -> pathlib.Path:
    """Returns the path of an exported folder's file. RuntimeLoadError if it is not there."""
    file = pathlib.Path(folder) / name
    if not file.is_file():
        raise RuntimeLoadError(f"{folder} holds no {name}, which its {FILE_NAME} promises: export it again")
    return file


def load(file: pathlib.Path, runtime: str, make: Callable[[], Loaded]) -> Loaded:
    """Returns make(). RuntimeLoadError, which names the file and the runtime, for whatever it raises."""
    try:
        return make()
    except Exception as error:  # each runtime has exceptions of its own for a damaged file
        raise RuntimeLoadError(f"{runtime} cannot read {file}: {one_line(error)}") from error
