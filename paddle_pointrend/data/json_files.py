"""JSON files of others, with every mistake as a UsageError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paddle_pointrend.errors import UsageError, one_line

_MOST = 2**63  # no count, size or id is larger, and larger ones fit no float or array


def read_json(path: Path) -> Any:
    """Reads a JSON file, in UTF-8 with or without a byte order mark. UsageError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_int=_whole_number)
    except OSError as error:
        raise UsageError(f"{path}: cannot read this file: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {one_line(error)}") from error


def _whole_number(text):
    value = int(text)
    if abs(value) >= _MOST:
        raise ValueError(f"the number {text[:20]}... has {len(text)} digits")
    return value
