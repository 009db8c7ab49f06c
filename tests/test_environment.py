import os
import sys

import pytest

from paddle_pointrend import environment

AMD, INTEL = "vendor_id\t: AuthenticAMD\n", "vendor_id\t: GenuineIntel\n"


@pytest.fixture
def command_line(monkeypatch):
    """A process that runs the command on 8 AMD processors without GPU, Paddle not yet imported."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/paddle-pointrend", "train"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8))
    monkeypatch.delitem(sys.modules, "paddle")
    monkeypatch.setattr(environment, "_processor_is_amd", lambda: True)
    monkeypatch.setattr(environment, "_uses_gpu", lambda: False)
    # Set and then deleted: what the code under test sets is taken back at the end too.
    for name in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_sets_threads_and_mkl_on_amd(command_line):
    assert environment.prepare_command_line() == ["OMP_NUM_THREADS=8", "MKL_DEBUG_CPU_TYPE=5"]
    assert os.environ["OMP_NUM_THREADS"] == "8"
    assert os.environ["MKL_DEBUG_CPU_TYPE"] == "5"


def test_sets_only_threads_elsewhere(command_line):
    command_line.setattr(environment, "_processor_is_amd", lambda: False)
    assert environment.prepare_command_line() == ["OMP_NUM_THREADS=8"]
    assert "MKL_DEBUG_CPU_TYPE" not in os.environ


def test_keeps_what_the_user_set(command_line):
    command_line.setenv("OMP_NUM_THREADS", "3")
    assert environment.prepare_command_line() == ["MKL_DEBUG_CPU_TYPE=5"]
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_sets_nothing_for_a_gpu(command_line):
    command_line.setattr(environment, "_uses_gpu", lambda: True)
    assert environment.prepare_command_line() == []
    assert "OMP_NUM_THREADS" not in os.environ


def test_sets_nothing_once_paddle_is_imported(command_line):
    command_line.setitem(sys.modules, "paddle", None)
    assert environment.prepare_command_line() == []


@pytest.mark.parametrize(
    ("argv", "orig_argv", "expected"),
    [
        (["/venv/bin/paddle-pointrend", "val"], ["python", "/venv/bin/paddle-pointrend", "val"], True),
        (["-m", "val"], ["python", "-m", "paddle_pointrend", "val"], True),
        (["-m", "val"], ["python", "-W", "ignore", "-m", "paddle_pointrend", "val"], True),
        (
            ["/repo/paddle_pointrend/__main__.py"],
            ["python", "-u", "/repo/paddle_pointrend/__main__.py"],
            True,
        ),
        (["/other/__main__.py"], ["python", "/other/__main__.py"], False),
        (["-m", "-m", "paddle_pointrend"], ["python", "-m", "pytest", "-m", "paddle_pointrend"], False),
        (["train.py", "-m", "paddle_pointrend"], ["python", "train.py", "-m", "paddle_pointrend"], False),
        (["-c"], ["python", "-c", "import paddle_pointrend"], False),
        ([], ["python"], False),
    ],
)
def test_is_the_command_line_only_when_started_as_one(monkeypatch, argv, orig_argv, expected):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert environment._runs_command_line() is expected


@pytest.mark.parametrize(
    ("arguments", "visible", "device_files", "expected"),
    [
        ([], None, ["nvidia0"], True),
        ([], None, ["nvidia3"], True),
        ([], None, ["nvidiactl"], False),
        ([], None, [], False),
        (["--device", "cpu"], None, ["nvidia0"], False),
        (["--device=cpu"], None, ["nvidia0"], False),
        (["--device", "gpu"], None, ["nvidia0"], True),
        ([], "", ["nvidia0"], False),
        ([], "-1", ["nvidia0"], False),
        ([], "0,1", ["nvidia0"], True),
    ],
)
def test_gpu_is_used_where_one_is_visible(monkeypatch, tmp_path, arguments, visible, device_files, expected):
    for name in device_files:
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "argv", ["paddle-pointrend", "train", *arguments])
    monkeypatch.setattr(environment, "_gpu_wheel_is_installed", lambda: True)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert environment._uses_gpu(tmp_path) is expected


def test_cpu_wheel_beside_a_gpu_computes_on_the_cpu(monkeypatch, tmp_path):
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(sys, "argv", ["paddle-pointrend", "train"])
    monkeypatch.setattr(environment.importlib.metadata, "distributions", lambda name: iter(()))
    assert environment._uses_gpu(tmp_path) is False
    monkeypatch.setattr(environment.importlib.metadata, "distributions", lambda name: iter([name]))
    assert environment._uses_gpu(tmp_path) is True


def test_reads_the_processors_maker(tmp_path):
    for text, expected in ((AMD, True), (INTEL, False)):
        (tmp_path / "cpuinfo").write_text(text)
        assert environment._processor_is_amd(tmp_path / "cpuinfo") is expected
    assert environment._processor_is_amd(tmp_path / "missing") is False
