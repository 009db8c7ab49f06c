"""The notebooks: made of their sources, small, and executed with NOTEBOOK_SMALL=1, their key numbers compared."""

import ast
import os

import pytest

pytest.importorskip("jupytext", reason="the extra [notebooks] is not installed")
import make_notebooks
import nbformat
from command_line import REPOSITORY

SOURCES = make_notebooks.sources()
# Numbers that do not depend on the machine, and ranges of those of a short training.
EXPECTED = {
    "01_quick_start": {"parameters": 3_379_183, "points": [4096, 4096, 4096]},
    "02_reproduction": {"scatter_difference": 0.0, "points": [1024, 1024, 1024], "boundary_width": 9},
    "03_own_data_own_model": {},
    "04_instances": {
        "coarse_side": 7,
        "sides": [28, 56, 112, 224],
        "points": [784, 784, 784],
        "last_step_is_the_mask": True,
        "detector_stays": True,
    },
}


@pytest.mark.parametrize("language", make_notebooks.FOLDERS)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_notebook_is_what_its_source_makes(source, language):
    stored = nbformat.read(make_notebooks.FOLDERS[language] / f"{source.stem}.ipynb", 4)
    made = make_notebooks.make(source, language)
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ], "run scripts/make_notebooks.py"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_text_has_both_languages(source):
    counts = {
        language: [cell.cell_type for cell in make_notebooks.make(source, language).cells]
        for language in make_notebooks.FOLDERS
    }
    assert counts["zh"] == counts["en"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_outputs_are_stored_and_small(source):
    for folder in make_notebooks.FOLDERS.values():
        file = folder / f"{source.stem}.ipynb"
        cells = make_notebooks.code_cells(nbformat.read(file, 4))
        assert cells[-1].outputs and file.stat().st_size < 500_000
        assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
        assert "pip install paddlepaddle" not in file.read_text()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_notebook_runs(source, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTEBOOK_SMALL", "1")
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    notebook = make_notebooks.make(source, "zh")
    make_notebooks.execute(notebook, tmp_path, timeout=600)
    printed = "".join(output.get("text", "") for output in make_notebooks.code_cells(notebook)[-1].outputs)
    numbers = ast.literal_eval(printed.splitlines()[-1])
    for name, value in EXPECTED[source.stem].items():
        assert numbers[name] == value, name
    for name in ("loss_difference", "coarse_stays"):
        assert abs(numbers.get(name, 0)) < 1e-5, name
    assert numbers.get("equal_labels", 1) > 0.995
    assert all(0 <= numbers[name] <= 1 for name in numbers if name.endswith("iou"))
