"""Draws the picture of scripts/benchmark.py."""

import io

import matplotlib
import numpy as np

from benchmarking.report import Section, pairs, runtime_rows, spread, workloads
from benchmarking.torch_networks import REFERENCE

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_COLOURS = {True: ("#7f7f7f", "#c7c7c7"), False: ("#2ca02c", "#98df8a")}  # torch's and ours: coarse, refinement
_CUT = 2.5  # times the reference's; longer bars are cut


def draw(section: Section) -> bytes:
    """Draws the time of every network as a bar, its refinement's part lighter where that was measured; a PNG."""
    found = workloads(section["records"])
    figure, panels = plt.subplots(1, len(found), figsize=(7.5 * len(found), 4.6), squeeze=False)
    for axes, ((shape, _), records) in zip(panels.flat, found.items()):
        rows = [row for row in runtime_rows(records) if row["ratio"] and not row["entry"].startswith("coarse ")]
        _bars(axes, rows, records)
        axes.set(title=f"batch {shape[0]}, {shape[1]}x{shape[2]}", xlabel=f"time, {REFERENCE} = 1")
    figure.suptitle("Time of a forward pass (lighter: refinement), median and quartiles")
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    plt.close(figure)
    return file.getvalue()


def _bars(axes, rows, records):
    rows = sorted(rows, key=lambda row: -row["ratio"][1])
    end = 1.15 * min(max((row["ratio"][1] for row in rows), default=1), _CUT)
    for i, row in enumerate(rows):
        first, median, third = row["ratio"]
        dark, light = _COLOURS[row["entry"].startswith(REFERENCE)]
        both = pairs(records, f"coarse {row['entry']}", row["entry"])
        part = min(1, spread(both[:, 0] / both[:, 1])[1]) if len(both) else 1
        axes.barh(i, median, color=light, xerr=[[median - first], [third - median]], capsize=2)
        axes.barh(i, part * median, color=dark)
        axes.text(min(third, 0.9 * end) + 0.01 * end, i, f"{median:.2f}", fontsize=8, va="center")
    axes.set_yticks(np.arange(len(rows)), [row["entry"] for row in rows])
    axes.axvline(1, color=_COLOURS[True][0], linewidth=1)
    axes.set_xlim(0, end)
    axes.invert_yaxis()
