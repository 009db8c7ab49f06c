"""Makes the notebooks of their sources: Chinese into notebooks/, English into notebooks/en/, of the same code.

    python scripts/make_notebooks.py              # after a change of text: outputs stay where the code is the same
    python scripts/make_notebooks.py --execute    # after a change of code: runs each source once, minutes

A source is jupytext's percent format; cells of text have lang="zh" or lang="en". Pictures in outputs are JPEG.
Needs the extra [notebooks].
"""

from __future__ import annotations

import argparse
import base64
import os
import pathlib
import re
import tempfile

import cv2
import jupytext
import nbformat
import numpy as np
from nbclient import NotebookClient

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[1] / "notebooks"
FOLDERS = {"zh": NOTEBOOKS, "en": NOTEBOOKS / "en"}
# Lines of PaddleSeg that tell a reader nothing: warnings about configs, the counting of operations.
NOISE = re.compile(r"\[WARNING\]|flops has been counted|Treat it as zero FLOPs|^Total Flops|^\s*$")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def sources() -> list[pathlib.Path]:
    """Lists the sources."""
    return sorted((NOTEBOOKS / "source").glob("*.py"))


def make(source: pathlib.Path, language: str) -> nbformat.NotebookNode:
    """Makes the notebook of a source in "zh" or "en", without outputs."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    for cell in jupytext.read(source).cells:
        if cell.metadata.get("lang") in (None, language):
            new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
            made.cells.append(new(cell.source, id=f"cell-{len(made.cells)}"))
    return made


def execute(notebook: nbformat.NotebookNode, folder: str | os.PathLike, timeout: int = 3600) -> None:
    """Runs all cells in a folder and keeps their outputs, without NOISE and with pictures as JPEG."""
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)
        kept = [_shrunk(output) for output in cell.outputs if output.get("name") != "stderr"]
        cell.outputs = [output for output in kept if output.get("text") != ""]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Lists the cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def copy_outputs(target: nbformat.NotebookNode, source: nbformat.NotebookNode) -> None:
    """Copies outputs of the same code."""
    for mine, theirs in zip(code_cells(target), code_cells(source)):
        if mine.source == theirs.source:
            mine.outputs, mine.execution_count = theirs.outputs, theirs.execution_count


def _shrunk(output):
    if output.output_type == "stream":
        lines = [line.rpartition("\r")[2] for line in output.text.splitlines()]  # what wrote over its own line
        output.text = "".join(f"{line}\n" for line in lines if not NOISE.search(line))
    picture = output.get("data", {}).pop("image/png", None)
    if picture is not None:
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        output.data["image/jpeg"] = base64.b64encode(data).decode()
        output.data.pop("text/plain", None)
    return output


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execute", action="store_true", help="run each source once for new outputs")
    parser.add_argument("--only", default="", metavar="TEXT", help="sources whose names have this")
    args = parser.parse_args(argv)
    for source in [source for source in sources() if args.only in source.name]:
        made = {language: make(source, language) for language in FOLDERS}
        files = {language: folder / f"{source.stem}.ipynb" for language, folder in FOLDERS.items()}
        if args.execute:
            with tempfile.TemporaryDirectory() as folder:
                execute(made["zh"], folder)
        elif files["zh"].exists():
            copy_outputs(made["zh"], nbformat.read(files["zh"], 4))
        copy_outputs(made["en"], made["zh"])
        for language, file in files.items():
            nbformat.write(made[language], file)
            print(f"wrote {file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
