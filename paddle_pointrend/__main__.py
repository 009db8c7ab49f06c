"""Runs the command line: as `python -m paddle_pointrend`, and by its path, as PaddlePaddle's launcher does."""

import pathlib
import sys

if not __package__:
    # Started by its path: Python put this folder on sys.path, where our paddleseg/ would hide PaddleSeg, and others
    # of our modules other packages'. The folder above is the one that holds the package.
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from paddle_pointrend.cli import main

if __name__ == "__main__":
    sys.exit(main())
