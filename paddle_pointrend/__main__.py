"""`python -m paddle_pointrend`, and the file that PaddlePaddle's launcher can run."""

import pathlib
import sys

if not __package__:
    # Started by its path, as the launcher does: Python put this folder on sys.path, where our metrics.py or
    # report.py would hide other packages' modules. The folder above is the one that holds the package.
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from paddle_pointrend.cli import main

if __name__ == "__main__":
    sys.exit(main())
