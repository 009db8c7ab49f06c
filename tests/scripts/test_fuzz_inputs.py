"""scripts/fuzz_inputs.py: a short run finds no fault, and faults would be found."""

import json
import os
import signal
import sys
import time

import pytest
from command_line import REPOSITORY, start

sys.path.insert(0, str(REPOSITORY / "scripts"))

from fuzzing import processes


@pytest.mark.slow
def test_sixty_inputs(tmp_path):
    arguments = ["--inputs", 60, "--seed", 3, "--formats", "--save_dir", tmp_path / "fuzz"]
    done = start([REPOSITORY / "scripts/fuzz_inputs.py", *arguments])
    assert done.returncode == 0, done.stdout[-3000:]
    counts = json.loads((tmp_path / "fuzz/counts.json").read_text())
    assert (counts["seed"], counts["inputs"]) == (3, 60)
    assert {sum(row.values()) for row in counts["counts"].values()} <= {5, 6}  # without torch there is a kind less
    assert sum(row["refused in one line"] for row in counts["counts"].values()) > 10
    assert sorted(path.name for path in (tmp_path / "fuzz").iterdir()) == ["counts.json", "whole"]


@pytest.mark.parametrize(
    ("ended", "command"),
    [
        ("succeeded", lambda arguments: 0),
        ("done in part", lambda arguments: 1),
        ("refused in one line", lambda arguments: print("paddle-pointrend val: error: so", file=sys.stderr) or 2),
        ("other exit", lambda arguments: 2),
        ("other exit", lambda arguments: 77),
        ("traceback", lambda arguments: 1 / 0),
        ("crash", lambda arguments: os.kill(os.getpid(), signal.SIGKILL)),
        ("hang", lambda arguments: time.sleep(60)),
        ("still training", lambda arguments: print("[INFO]\t[TRAIN] epoch: 2, iter: 4/99999999") or time.sleep(60)),
        ("execution", lambda arguments: open("canary", "w").close() or 0),
    ],
)
def test_every_end_is_told(tmp_path, monkeypatch, ended, command):
    monkeypatch.setattr(processes, "command", command)
    assert processes.run([], tmp_path, tmp_path / "canary", seconds=3) == ended
