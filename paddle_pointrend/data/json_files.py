"""JSON files of others, with every mistake as a UsageError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paddle_pointrend.errors import UsageError, one_line


def read_json(path: Path) -> Any:
    """Reads a JSON file, in UTF-8 with or without a byte order mark. UsageError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read this file: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {one_line(error)}") from error
