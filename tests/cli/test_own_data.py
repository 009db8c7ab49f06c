"""docs/own_data.md: its commands, as they stand there, on a small folder of labelme's form."""

import re
import shlex

import pytest
from annotation_samples import labelme_folder
from command_line import REPOSITORY, run

SHORTER = ["--iters", "2", "--batch_size", "2", "--log_iters", "1"]


def commands(page):
    return [shlex.split(line)[1:] for line in re.findall(r"(?m)^    (paddle-pointrend .*)$", page)]


def test_the_pages_commands_lead_from_a_labelme_folder_to_an_exported_model(tmp_path, monkeypatch):
    pytest.importorskip("paddle2onnx")
    monkeypatch.chdir(tmp_path)
    labelme_folder(tmp_path / "photos")
    found = commands((REPOSITORY / "docs/own_data.md").read_text())
    assert [command[0] for command in found].count("train") == 3
    for command in found:
        assert run(*command, *(SHORTER if command[0] == "train" else [])) == 0, command
    results = tmp_path / "output/result/pseudo_color_prediction"
    assert {path.name for path in results.iterdir()} == {f"house {number}.png" for number in range(5)}
