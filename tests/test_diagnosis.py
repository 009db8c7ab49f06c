"""What the doctor finds in made-up environments, and in processes where Paddle or OpenCV do not import."""

import os
import subprocess
import sys

import pytest
from command_line import REPOSITORY, run
from packaging.specifiers import SpecifierSet

from paddle_pointrend.diagnosis import failed_imports, find_conflicts, is_allowed

REQUIREMENTS = [
    "paddleseg<3,>=2.8",
    "numpy<2,>=1.23",
    "opencv-python<=4.6.0,>=4.5.5",
    'paddlepaddle<3.4,>=3.0; extra == "cpu"',
    'onnx<1.18,>=1.16; extra == "onnx"',
]
GOOD = {"paddleseg": "2.8.0", "numpy": "1.26.4", "opencv-python": "4.5.5.64", "paddlepaddle": "3.3.1"}


def problems(changes, python=(3, 11)):
    packages = {name: version for name, version in {**GOOD, **changes}.items() if version}
    return find_conflicts(packages, REQUIREMENTS, python)


@pytest.mark.parametrize(
    ("changes", "problem", "fix"),
    [
        ({"numpy": "2.4.0"}, "numpy is 2.4.0, <2,>=1.23 is needed", 'pip install "numpy<2,>=1.23"'),
        ({"opencv-python-headless": "4.10.0"}, "opencv-python-headless write into", "pip uninstall -y"),
        ({"paddlepaddle": None}, "PaddlePaddle is not installed", 'pip install "paddlepaddle<3.4,>=3.0"'),
        ({"paddlepaddle": "2.6.2"}, "paddlepaddle is 2.6.2", "pip install"),
        ({"paddlepaddle": None, "paddlepaddle-gpu": "2.6.2"}, "paddlepaddle is 2.6.2", "pip install"),
        ({"paddlepaddle-gpu": "3.1.0"}, "write into the same folder paddle", "pip uninstall paddlepaddle"),
        ({"paddleseg": None}, "paddleseg is not installed", 'pip install "paddleseg<3,>=2.8"'),
        ({"onnx": "1.18.0"}, "onnx is 1.18.0", 'pip install "onnx<1.18,>=1.16"'),
        ({"opencv-python": None}, "opencv-python is not installed", "pip install"),
    ],
)  # fmt: skip
def test_each_conflict_has_its_fix(changes, problem, fix):
    found = problems(changes)
    assert len(found) == 1
    assert problem in found[0].problem
    assert fix in found[0].fix


def test_what_goes_together_is_let_be():
    assert problems({}) == problems({"onnx": "1.17.0"}) == problems({}, (3, 10)) == problems({}, (3, 12)) == []
    assert problems({"opencv-python": None, "opencv-contrib-python": "4.6.0.66"}) == []
    assert "Python 3.13 was not tried" in problems({}, (3, 13))[0].problem
    assert "Python 3.9 was not tried" in problems({}, (3, 9))[0].problem


@pytest.mark.parametrize("allowed", ["<2,>=1.23", "<=4.6.0,>=4.5.5", "==2.8.0", ">=3.0,<3.4", "", ">1.2"])
@pytest.mark.parametrize(
    "version", ["1.22.4", "1.23", "2.0.0", "2", "2.8", "3.3.1", "3.4.0", "4.5.5.64", "4.6.0", "4.7.0.72"]
)
def test_ranges_mean_what_pip_means(allowed, version):
    assert is_allowed(version, allowed) == SpecifierSet(allowed).contains(version)


def stub(folder, name, text):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(text)


def test_modules_are_imported_in_processes_of_their_own(tmp_path, monkeypatch):
    stub(tmp_path, "numpy", "raise ImportError('numpy.core.multiarray failed to import')")
    stub(tmp_path, "cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
    stub(tmp_path, "paddle", "import os; os.kill(os.getpid(), 11)")
    stub(tmp_path, "paddleseg", "import time; time.sleep(60)")
    stub(tmp_path, "openvino", "")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = failed_imports({**GOOD, "openvino": "1"}, timeout=5)
    assert [conflict.problem for conflict in found] == [
        "import numpy fails: ImportError: numpy.core.multiarray failed to import",
        "import cv2 fails: ImportError: libGL.so.1: cannot open shared object file",
        "import paddle fails: the process ends with code -11",
        "import paddleseg fails: it takes longer than 5 seconds",
    ]
    assert [found[i].fix for i in (0, 1)] == ['pip install "numpy<2"', "apt-get install libgl1 libglib2.0-0"]
    assert found[2].fix == "pip install --force-reinstall paddlepaddle"


def test_the_doctor_runs_where_nothing_else_does(tmp_path):
    """As a program of its own, whose NumPy, OpenCV and Paddle do not import."""
    for name in ("numpy", "cv2", "paddle", "paddleseg"):
        stub(tmp_path, name, "raise ImportError('broken on purpose')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "-m", "paddle_pointrend", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    for name in ("numpy", "cv2", "paddle", "paddleseg"):
        assert f"import {name} fails: ImportError: broken on purpose" in done.stdout
    assert "paddle runs on: it does not import" in done.stdout
    assert done.stderr == ""


def test_the_doctor_of_this_environment_finds_nothing(capsys):
    assert run("doctor") == 0
    output = capsys.readouterr().out
    assert "paddleseg 2.8" in output and "paddle runs on: ['cpu'" in output and "No problem is known of." in output
