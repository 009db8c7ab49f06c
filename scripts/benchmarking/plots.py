"""Draws the pictures of scripts/benchmark.py."""

import io

import matplotlib
import numpy as np

from benchmarking.networks import REDUCED
from benchmarking.report import REFERENCE, Section, refinement_seconds, runtime_rows, spread, workloads

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_COLOURS = {REFERENCE: "#7f7f7f", "paddle": "#1f77b4", "paddleseg": "#bcbd22"}
_EXPORTED, _COARSE = "#2ca02c", "#98df8a"


def draw(report: dict[str, Section]) -> dict[str, bytes]:
    """Draws the sections that the report has: file name -> PNG."""
    figures = {}
    if "runtimes" in report:
        figures["times.png"] = _times(report["runtimes"])
        figures["memory.png"] = _memory(report["runtimes"])
    if "refinement" in report:
        figures["refinement.png"] = _against(report["refinement"], "pixels", lambda shape, points: np.prod(shape))
    if "points" in report:
        figures["points.png"] = _against(report["points"], "points in each step", lambda shape, points: points)
    return {name: _png(figure) for name, figure in figures.items()}


def _times(section):
    figure, panels = _panels(section)
    for axes, ((shape, _), records) in zip(panels, workloads(section["records"]).items()):
        rows = [row for row in runtime_rows(records) if row["ratio"]]
        first, median, third = np.array([row["ratio"] for row in rows]).reshape(-1, 3).T
        _bars(axes, rows, median, "{:.2f}", xerr=[median - first, third - median], capsize=2)
        axes.axvline(1, color=_COLOURS[REFERENCE], linewidth=1)
        axes.set(title=f"batch {shape[0]}, {shape[1]}x{shape[2]}", xlabel=f"time, {REFERENCE} = 1")
    figure.suptitle("Time of a forward pass: median and quartiles of ratios within a round")
    return figure


def _memory(section):
    figure, panels = _panels(section)
    for axes, ((shape, _), records) in zip(panels, workloads(section["records"]).items()):
        rows = [row for row in runtime_rows(records) if row["peak_bytes"]]
        _bars(axes, rows, np.array([row["peak_bytes"] / 1e9 for row in rows]), "{:.1f}")
        axes.set(title=f"batch {shape[0]}, {shape[1]}x{shape[2]}", xlabel="GB")
    figure.suptitle("Peak memory of the process")
    return figure


def _bars(axes, rows, values, form, **options):
    """Draws horizontal bars, the first entry on top. Those many times as long as the reference's are cut."""
    names = [row["entry"] for row in rows]
    axes.barh(names, values, color=[_colour(name) for name in names], **options)
    reference = max([value for name, value in zip(names, values) if name == REFERENCE], default=max(values, default=1))
    end = 1.2 * min(max(values, default=1), 3 * reference)
    for i, value in enumerate(values):
        axes.text(min(value, 0.9 * end) + 0.01 * end, i - 0.28, form.format(value), fontsize=8)
    axes.set_xlim(0, end)
    axes.invert_yaxis()


def _against(section, label, place):
    """Draws milliseconds of refinement against what `place` says of a workload, both axes logarithmic."""
    curves = {}
    for (shape, points), records in workloads(section["records"]).items():
        for entry, seconds in refinement_seconds(records).items():
            curves.setdefault(entry, []).append((float(place(shape, points)), *(1000 * np.array(spread(seconds)))))
    figure, axes = plt.subplots(figsize=(7, 5))
    for entry, rows in curves.items():
        x, first, median, third = np.array(rows).T
        axes.errorbar(
            x, median, [median - first, third - median], fmt="o-", color=_colour(entry), capsize=3, label=entry
        )
    if curves:
        x, _, median, _ = np.array(max(curves.values(), key=len)).T
        axes.plot(x, median[0] * x / x[0], "--", color="lightgrey", label="linear", zorder=0)
        axes.legend()
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="ms", title=f"Time of refinement against {label}")
    axes.grid(alpha=0.3, which="both")
    return figure


def _panels(section):
    count = len(workloads(section["records"]))
    columns = min(2, count)
    rows = -(-count // columns)
    figure, panels = plt.subplots(rows, columns, figsize=(6.5 * columns, 3.4 * rows + 0.6), squeeze=False)
    for axes in panels.flat[count:]:
        axes.axis("off")
    return figure, panels.flat


def _colour(entry):
    return _COARSE if entry.startswith("coarse ") else _COLOURS.get(entry.removesuffix(REDUCED), _EXPORTED)


def _png(figure):
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    plt.close(figure)
    return file.getvalue()
