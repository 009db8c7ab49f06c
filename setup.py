"""Puts configs/ into wheels as paddle_pointrend/configs; pyproject.toml has everything else."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the configs; an editable install reads those of its checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = pathlib.Path(self.build_lib, "paddle_pointrend", "configs")
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(pathlib.Path(__file__).parent / "configs", target)


setup(cmdclass={"build_py": BuildWithConfigs})
