"""Writes files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Gives the path of a temporary file, to be written in the block; it takes the name `path` at the block's end.

    So the file is either as it was or whole, even if the process is killed. A symbolic link stays one: its target is
    written.

    Args:
        path: the file; its folder exists.

    Raises:
        OSError: it cannot be written; the temporary file is gone.
    """
    with _draft(path) as (draft, target):
        yield draft
        os.replace(draft, target)


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Writes bytes to a `whole_file`."""
    with whole_file(path) as draft:
        draft.write_bytes(data)


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Writes a JSON file with `write_whole`. ValueError for NaN and infinities, which JSON lacks."""
    write_whole(path, json.dumps(content, indent=2, allow_nan=False).encode())


def check_writable(path: str | os.PathLike) -> None:
    """Tries to write a `whole_file` there: before the work rather than after it. OSError if that fails."""
    with _draft(path) as (draft, _):
        draft.touch()


@contextlib.contextmanager
def _draft(path):
    """Gives a temporary file beside the target, and the target; removes the file unless it was renamed."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():  # a rename would put a file in the place of a device
        raise OSError(errno.EINVAL, "this is not a regular file", str(path))
    if not target.parent.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield draft, target
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary folder, to be filled in the block; it takes the name `path` at the block's end.

    Args:
        path: a folder that is not there yet, or is empty. Folders above it are made.

    Raises:
        OSError: it cannot be made, or is not empty; the temporary folder is gone.
    """
    target = Path(path).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OSError(errno.ENOTEMPTY, "it is there already and not empty", str(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        draft.mkdir()
        yield draft
        if target.exists():  # Windows does not rename onto an empty folder
            target.rmdir()
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
