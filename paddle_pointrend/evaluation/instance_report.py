"""The HTML report of a run with instances: AP of boxes, masks and boundaries, images, curves, in one file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddle_pointrend.evaluation import visualize
from paddle_pointrend.evaluation.figures import zoom_window
from paddle_pointrend.evaluation.instance_pictures import draw_instances, instance_colors
from paddle_pointrend.evaluation.report_parts import (
    DIFFERENCE_KEYS,
    article,
    checked_predictions,
    difference_verdict,
    headline,
    measure_table,
    panel_figures,
    swatches,
    text,
    write_page,
)
from paddle_pointrend.evaluation.tables import instance_rows


@dataclass
class InstanceImage:
    """One image of the report.

    Attributes:
        name: its headline.
        image: RGB uint8 [H, W, 3].
        true_boxes: [G, 4], x1 y1 x2 y2. true_masks: bool [G, H, W].
        boxes: [D, 4], the detections'. labels: D texts.
        masks: prediction's name -> bool [D, H, W].
        note: what the report says of it.
    """

    name: str
    image: np.ndarray
    true_boxes: np.ndarray
    true_masks: np.ndarray
    boxes: np.ndarray
    labels: Sequence[str]
    masks: Mapping[str, np.ndarray]
    note: str = ""


def write_instance_report(
    path: str | os.PathLike,
    *,
    title: str,
    metadata: Mapping[str, object],
    images: Sequence[InstanceImage],
    summaries: Mapping[str, dict],
    class_names: Sequence[str],
    curves: Mapping[str, tuple] | None = None,
    max_side: int = 1280,
) -> Path:
    """Writes the report as one HTML file; an older file at `path` is replaced only when the new one is complete.

    Args:
        path: where to write; folders are made.
        title: headline.
        metadata: dict of what ran and how, shown in its order.
        images: what is shown.
        summaries: dict from "coarse" and "refined", or from "prediction", to what `InstanceMetrics.summary` returned.
        class_names: K names.
        curves: dict from a curve's name to (iterations, values).
        max_side: pictures longer than this are shrunk for the file; the zoomed windows keep their pixels.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: summaries of other predictions.
    """
    columns = checked_predictions(summaries)
    rows = [(text(name), [values]) for name, values in instance_rows(summaries, class_names)]
    means, of_classes = rows[: -2 * len(class_names)], rows[-2 * len(class_names) :]
    pairs = zip(class_names, of_classes[: len(class_names)], of_classes[len(class_names) :], strict=True)
    better = " Masks and boundaries of coarse are those on the grid of 28x28; boxes are the same for both."
    sections = [
        headline(title, [(name, values) for name, (values,) in means[:3]]),
        f"<section><h2>Images</h2>{_how_to_read(len(columns))}",
        *(_image_article(image, max_side) for image in images),
        "</section>",
        "<section><h2>Measures</h2><p>Average precision in percent. Boundary AP: Cheng et al. 2021. A dash: there is "
        f"no such object.{better if len(columns) == 2 else ''}</p>",
        measure_table(means, columns),
        measure_table(
            [(text(name), [*mask, *boundary]) for name, (_, mask), (_, boundary) in pairs],
            columns,
            ["mask AP", "boundary AP"],
        ),
        "</section>",
    ]
    return write_page(path, title, sections, curves=curves, metadata=metadata)


def _image_article(image, max_side):
    """The truth, the predictions, and where all masks together differ."""
    colors = instance_colors(len(image.boxes))
    blank = [""] * len(image.true_boxes)
    panels = [
        image.image,
        draw_instances(image.image, image.true_boxes, image.true_masks, blank, instance_colors(len(blank))),
        *(draw_instances(image.image, image.boxes, masks, image.labels, colors) for masks in image.masks.values()),
    ]
    truth, *found = (masks.any(0).astype(np.uint8) for masks in (image.true_masks, *image.masks.values()))
    if len(found) == 1:
        changed = found[0] != truth
        picture, name, verdict = visualize.error_map(found[0], truth, image=image.image), "mistakes", ""
    else:
        first, second = image.masks.values()
        changed = (first != second).any(0)
        picture, counts = visualize.difference_map(*found, truth, image=image.image)
        name, verdict = "difference", f" Object or not: {difference_verdict(counts)}"
    panels.append(picture)
    figures = panel_figures(panels, ["image", "truth", *image.masks, name], zoom_window(changed), max_side)
    return article(image.name, image.note + verdict, figures, len(panels))


def _how_to_read(num_predictions):
    shown = "Shown are the objects of the labels, and the detections with a score of at least 0.5."
    if num_predictions == 1:
        return (
            f"<p>{shown} The network has one mask a box: there is no coarse one to compare it with. The frame marks "
            "the window with the most wrong pixels; it is enlarged below. The last picture, object or not:</p>"
            + swatches([(visualize.WRONG_COLOR, "wrong")])
        )
    return (
        f"<p>{shown} Coarse is the mask on the grid of 28x28, before the subdivision steps; refined is what comes out "
        "after them. The frame marks the window in which the two differ most; it is enlarged below. The last picture "
        "tells objects of whatever kind from the rest: where coarse and refined differ in that, which of them is "
        "right:</p>" + swatches(DIFFERENCE_KEYS[:2])
    )
