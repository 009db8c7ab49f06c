"""What README, CONTRIBUTING and docs/ name is there: files, links, commands."""

import pathlib
import re

import pytest
import yaml

from paddle_pointrend.cli import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
# What stands for a name of the reader's own, and what was there once.
PLACEHOLDERS = re.compile(r"CONFIG|MODEL|NAME|\.\.\.|\*")


def _page(name):
    return next(page for page in PAGES if page.name == name).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page):
    text = page.read_text().partition("## Old paths")[0]
    named = set(re.findall(r"(?<![\w/.])(?:scripts|configs|docs|tests)/[\w./*-]+\.(?:py|yml|md|npz|png)", text))
    named |= set(re.findall(r"(?<![\w/.])(?:scripts|configs|tests|paddle_pointrend)/[\w/]*/(?=[`;, )])", text))
    missing = [name for name in named if not PLACEHOLDERS.search(name) and not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_named_are_there(page):
    named = set(re.findall(r"(?m)(?:^ +|`)paddle-pointrend ([a-z]+)", page.read_text()))
    assert named <= set(COMMANDS)


def test_readme_stays_short():
    assert len(_page("README.md").splitlines()) <= 110


def test_pre_commit_runs_the_ruff_of_the_tests():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert f'"ruff=={hooks[0]["rev"].removeprefix("v")}"' in (ROOT / "pyproject.toml").read_text()
