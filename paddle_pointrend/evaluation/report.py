"""The HTML report of a run with label maps: one file of pictures, tables and curves, nothing loaded from elsewhere."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from paddle_pointrend.evaluation import visualize
from paddle_pointrend.evaluation.confusion_tables import confusion_tables
from paddle_pointrend.evaluation.figures import Sample, draw_step, panel_names, sample_panels, zoom_window
from paddle_pointrend.evaluation.report_parts import (
    DIFFERENCE_KEYS,
    article,
    checked_predictions,
    class_legend,
    difference_verdict,
    figure,
    headline,
    measure_table,
    panel_figures,
    swatch,
    swatches,
    text,
    write_page,
)
from paddle_pointrend.evaluation.tables import summary_rows


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    metadata: Mapping[str, object],
    samples: Sequence[Sample],
    summaries: Mapping[str, dict],
    class_names: Sequence[str],
    palette: np.ndarray,
    curves: Mapping[str, tuple] | None = None,
    confusions: Mapping[str, np.ndarray] | None = None,
    ignore_index: int = 255,
    max_side: int = 1280,
) -> Path:
    """Writes the report as one HTML file; an older file at `path` is replaced only when the new one is complete.

    Args:
        path: where to write; folders are made.
        title: headline.
        metadata: dict of what ran and how: config, checkpoint, iterations, seed, versions; shown in its order.
        samples: list of `Sample`.
        summaries: dict from "coarse" and "refined", or from "prediction", to `SegmentationMetrics.summary()`.
        class_names: K names. palette: [K, 3] RGB.
        curves: dict from a curve's name to (iterations, values); values that are not finite leave gaps.
        confusions: dict from the predictions' names to their confusion matrices, int [K, K], rows are labels.
        ignore_index: truth value that is not judged.
        max_side: pictures longer than this are shrunk for the file; the zoomed windows keep their pixels.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: summaries of other predictions, or counts of names, colours and classes that differ.
    """
    columns = checked_predictions(summaries)
    if len(class_names) != len(palette):
        raise ValueError(f"{len(class_names)} class names for {len(palette)} colours, expected the same number")
    rows = summary_rows(summaries, class_names)
    sections = [
        headline(title, rows[:4]),
        f"<section><h2>Images</h2>{_how_to_read(len(columns))}{class_legend(class_names, palette)}",
        *(_sample_article(sample, palette, ignore_index, max_side) for sample in samples),
        "</section>",
        f"<section><h2>Measures</h2>{_tables(rows, columns, class_names, palette)}</section>",
    ]
    if confusions:
        sections.append(f"<section><h2>Confusion</h2>{confusion_tables(confusions, class_names)}</section>")
    return write_page(path, title, sections, curves=curves, metadata=metadata)


def _sample_article(sample, palette, ignore_index, max_side):
    """The panels and what differs: the two predictions, or the one and the truth."""
    panels, names = sample_panels(sample, palette), panel_names(sample)
    judged = sample.truth != ignore_index
    if sample.coarse is None:
        wrong = (sample.refined != sample.truth) & judged
        picture = visualize.error_map(sample.refined, sample.truth, ignore_index=ignore_index, image=sample.image)
        name, verdict = "mistakes", f"{100 * wrong.sum() / max(judged.sum(), 1):.2f} % of the judged pixels are wrong."
    else:
        wrong = (sample.coarse != sample.refined) & judged
        picture, counts = visualize.difference_map(
            sample.coarse, sample.refined, sample.truth, ignore_index=ignore_index, image=sample.image
        )
        name, verdict = "difference", difference_verdict(counts)
    figures = panel_figures([*panels, picture], [*names, name], zoom_window(wrong), max_side)
    figures += [
        figure(
            draw_step(sample.image, (coords, size), max_side),
            f"step {number}: points on the {size[1]} x {size[0]} map",
            kind="jpg",
            note=f"{len(coords)} points, {100 * len(coords) / (size[0] * size[1]):.1f} % of the map's cells",
        )
        for number, (coords, size) in enumerate(sample.steps, start=1)
    ]
    return article(sample.name, f"{sample.note} {verdict}".strip(), figures, len(panels) + 1)


def _how_to_read(num_predictions):
    if num_predictions == 1:
        return (
            "<p>The model has one prediction: there is no coarse one to compare it with. Shown are the images with the "
            "highest scores, then those with the lowest, the lowest first. The frame marks the window with the most "
            "wrong pixels; it is enlarged below. In the last picture:</p>"
            + swatches([(visualize.WRONG_COLOR, "wrong")])
        )
    return (
        "<p>Coarse is what the network predicts before the point head, enlarged to the image; refined is what comes "
        "out after it. The frame marks the window in which the two differ most; it is enlarged below. The "
        "last row shows which points each subdivision step chose to predict again. Where coarse and refined differ, "
        "colours say which is right:</p>" + swatches(DIFFERENCE_KEYS)
    )


def _tables(rows, columns, class_names, palette):
    """Two tables: the means, and by class with IoU and boundary IoU beside each other."""
    count = len(class_names)
    classes = [
        (f"{swatch(color)}{text(name)}", [iou, boundary])
        for name, color, (_, iou), (_, boundary) in zip(
            class_names, palette, rows[4 : 4 + count], rows[4 + count :], strict=True
        )
    ]
    better = "; the better one of two is bold" if len(columns) == 2 else ""
    return (
        f"<p>In percent{better}. Boundary IoU: Cheng et al. 2021, width 2 % of the diagonal "
        "unless set otherwise. A dash: the class does not occur.</p>"
        + measure_table([(text(name), [values]) for name, values in rows[:4]], columns)
        + measure_table(classes, columns, ["IoU", "boundary IoU"])
    )
