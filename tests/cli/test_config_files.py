"""`configs`: those of the checkout, listed and copied; a wheel has them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import REPOSITORY, error_line, outputs, run

from paddle_pointrend.paddleseg.config_files import copy_configs, list_configs
from paddle_pointrend.paddleseg.configs import files_of, load_config

NAME = "camvid/pointrend_semantic_fpn_resnet18_stride8.yml"


def test_every_config_is_listed_with_its_first_line(capsys):
    assert run("configs", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    root = REPOSITORY / "configs"
    expected = sorted(path.relative_to(root).as_posix() for path in root.glob("[!_]*/*.yml"))
    assert lines[::2] == expected
    assert lines[lines.index(NAME) + 1].strip().startswith("SemanticFPN + PointRend, ResNet-18 from scratch, CamVid")


@pytest.mark.parametrize("name", [NAME, NAME.removesuffix(".yml"), f"configs/{NAME}"])
def test_a_copy_has_all_that_it_inherits(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert run("configs", "copy", name) == 0
    assert outputs(tmp_path) == {
        f"configs/{NAME}",
        "configs/camvid/pointrend_semantic_fpn_resnet18_stride4.yml",
        "configs/_base_/camvid.yml",
    }
    assert capsys.readouterr().out.splitlines()[0] == f"Wrote configs/{NAME}"
    assert load_config(f"configs/{NAME}").dic == load_config(REPOSITORY / "configs" / NAME).dic
    assert run("configs", "copy", name, "facades/pointrend_semantic_fpn_resnet18_stride8") == 0
    (tmp_path / f"configs/{NAME}").write_text("mine: 1\n")
    assert run("configs", "copy", name) == 2
    assert "is there already and differs" in error_line(capsys)
    assert (tmp_path / f"configs/{NAME}").read_text() == "mine: 1\n"


def test_every_config_can_be_copied_and_reads_the_same(tmp_path):
    names = list(list_configs())
    copy_configs(names, tmp_path)
    assert names
    for name in names:
        assert load_config(tmp_path / name).dic == load_config(REPOSITORY / "configs" / name).dic, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["copy", "camvid/semantic_fpn"], "there is no config camvid/semantic_fpn.yml; did you mean camvid/"),
        (["copy", "../README.md"], "paddle-pointrend configs list names them"),
        (["copy", NAME, "--to", "{file}"], "cannot write into this folder"),
        (["move"], "invalid choice: 'move'"),
    ],
)
def test_mistakes_are_named(tmp_path, capsys, arguments, words):
    (tmp_path / "file").touch()
    assert run("configs", *(argument.format(file=tmp_path / "file") for argument in arguments)) == 2
    assert words in error_line(capsys)


def test_a_wheel_has_the_configs(tmp_path):
    """Built of a copy, as pip builds it, with the setuptools that is installed."""
    pytest.importorskip("setuptools")
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("configs", "paddle_pointrend"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("dist/*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    installed = tmp_path / "installed/paddle_pointrend"
    configs = {path.relative_to(installed).as_posix() for path in installed.rglob("*.yml")}
    assert configs == {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "configs").rglob("*.yml")}
    for name in configs:
        assert all(installed in Path(os.path.normpath(file)).parents for file in files_of(installed / name)), name
