"""Results as a JSON file and a Markdown table."""

import pathlib
from typing import Any

from paddle_pointrend.files import write_json, write_whole


def write_report(folder: pathlib.Path, name: str, records: Any, table: str) -> None:
    """Writes folder/NAME.json and folder/NAME.md, and prints the table and where it is."""
    write_json(folder / f"{name}.json", records)
    write_whole(folder / f"{name}.md", f"{table}\n".encode())
    print(table)
    print(f"wrote {name}.json and .md into {folder}")
