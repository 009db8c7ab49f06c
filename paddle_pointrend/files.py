"""Files that are written whole or not at all."""

import contextlib
import errno
import json
import os
from pathlib import Path


def write_whole(path, data):
    """Writes bytes to a file, which is then either as it was or whole, even if the process is killed.

    A temporary file beside it takes its name at the end. A symbolic link stays one: its target is written.

    Args:
        path: the file; its folder exists.
        data: bytes.

    Raises:
        OSError: it cannot be written; the temporary file is gone.
    """
    with _draft(path) as (file, target):
        file.write(data)
        file.close()
        os.replace(file.name, target)


def write_json(path, content):
    """Writes a JSON file with `write_whole`. ValueError for NaN and infinities, which JSON lacks."""
    write_whole(path, json.dumps(content, indent=2, allow_nan=False).encode())


def check_writable(path):
    """Raises OSError if `write_whole` cannot write this file; found before the work rather than after it."""
    with _draft(path):
        pass


@contextlib.contextmanager
def _draft(path):
    """(an open temporary file beside the target, the target); the file is removed unless it was renamed."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():  # a rename would put a file in the place of a device
        raise OSError(errno.EINVAL, "this is not a regular file", str(path))
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            yield file, target
    finally:
        draft.unlink(missing_ok=True)
