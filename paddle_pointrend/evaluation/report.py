"""The HTML report of a run: one file with pictures, tables and curves, nothing loaded from elsewhere."""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from paddle_pointrend.evaluation import visualize
from paddle_pointrend.evaluation.charts import curve_svg
from paddle_pointrend.evaluation.confusion_tables import confusion_tables
from paddle_pointrend.evaluation.figures import PANEL_NAMES, ZOOM, Sample, draw_step, sample_panels, zoom_window
from paddle_pointrend.evaluation.report_style import STYLE
from paddle_pointrend.evaluation.tables import summary_rows
from paddle_pointrend.files import write_whole


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
        summaries: dict from "coarse" and "refined" to `SegmentationMetrics.summary()`.
        class_names: K names. palette: [K, 3] RGB.
        curves: dict from a curve's name to (iterations, values); values that are not finite leave gaps.
        confusions: dict from "coarse" and "refined" to their confusion matrices, int [K, K], rows are labels.
        ignore_index: truth value that is not judged.
        max_side: pictures longer than this are shrunk for the file; the zoomed windows keep their pixels.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: summaries other than coarse and refined, or counts of names, colours and classes that differ.
    """
    if list(summaries) != ["coarse", "refined"]:
        raise ValueError(f"summaries has {list(summaries)}, expected ['coarse', 'refined'] in this order")
    if len(class_names) != len(palette):
        raise ValueError(f"{len(class_names)} class names for {len(palette)} colours, expected the same number")
    rows = summary_rows(summaries, class_names)
    body = [
        f"<header><h1>{_text(title)}</h1>{_headline(rows[:4])}</header>",
        f"<section><h2>Images</h2>{_how_to_read()}{class_legend(class_names, palette)}",
        *(_sample_section(sample, palette, ignore_index, max_side) for sample in samples),
        "</section>",
        f"<section><h2>Measures</h2>{_tables(rows, class_names, palette)}</section>",
    ]
    if confusions:
        body.append(f"<section><h2>Confusion</h2>{confusion_tables(confusions, class_names)}</section>")
    if curves:
        charts = "".join(f"<figure>{curve_svg(name, *points)}</figure>" for name, points in curves.items())
        body.append(f'<section><h2>Training</h2><div class="charts">{charts}</div></section>')
    if metadata:
        lines = "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in metadata.items())
        body.append(f"<section><h2>Run</h2><dl>{lines}</dl></section>")
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.encode())
    return path


def _sample_section(sample, palette, ignore_index, max_side):
    panels = sample_panels(sample, palette)
    window = zoom_window((sample.coarse != sample.refined) & (sample.truth != ignore_index))
    difference, counts = visualize.difference_map(
        sample.coarse, sample.refined, sample.truth, ignore_index=ignore_index, image=sample.image
    )
    panels, names = [*panels, difference], [*PANEL_NAMES, "difference"]
    figures = [
        _figure(
            _fit(visualize.draw_frame(panel, *window), max_side),
            name,
            kind="jpg" if name == "image" else "png",
        )
        for panel, name in zip(panels, names)
    ]
    figures += [_figure(panel[window], f"{name}, {ZOOM}x", pixelated=True) for panel, name in zip(panels, names)]
    steps = [
        _figure(
            draw_step(sample.image, (coords, size), max_side),
            f"step {number}: points on the {size[1]} x {size[0]} map",
            kind="jpg",
            note=f"{len(coords)} points, {100 * len(coords) / (size[0] * size[1]):.1f} % of the map's cells",
        )
        for number, (coords, size) in enumerate(sample.steps, start=1)
    ]
    return (
        f"<article><h3>{_text(sample.name)}</h3><p>{_text(f'{sample.note} {_verdict(counts)}'.strip())}</p>"
        f'<div class="panels">{"".join(figures + steps)}</div></article>'
    )


def _verdict(counts):
    different, counted = counts["different"], counts["counted"]
    if not different:
        return "The two predictions agree on every judged pixel."
    shares = {key: 100 * counts[key] / different for key in ("refined_right", "coarse_right", "both_wrong")}
    return (
        f"{different} pixels differ ({100 * different / counted:.2f} % of those judged): refined is right on "
        f"{counts['refined_right']} ({shares['refined_right']:.0f} %), coarse on {counts['coarse_right']} "
        f"({shares['coarse_right']:.0f} %), neither on {counts['both_wrong']} ({shares['both_wrong']:.0f} %)."
    )


def _how_to_read():
    keys = [
        (visualize.RIGHT_COLOR, "refined is right"),
        (visualize.WRONG_COLOR, "coarse was right"),
        (visualize.BOTH_WRONG_COLOR, "both are wrong"),
    ]
    return (
        "<p>Coarse is what the network predicts before the point head, enlarged to the image; refined is what comes "
        "out after it. The frame marks the window in which the two differ most; it is enlarged below. The "
        "last row shows which points each subdivision step chose to predict again. Where coarse and refined differ, "
        "colours say which is right:</p>" + _swatches(keys)
    )


def class_legend(class_names: Sequence[str], palette: np.ndarray) -> str:
    """Writes the HTML list of the classes' names and colours [K, 3], with that of ignored pixels at the end."""
    keys = [(tuple(int(c) for c in color), name) for color, name in zip(palette, class_names)]
    return "<p>Classes:</p>" + _swatches([*keys, (visualize.IGNORED_COLOR, "ignored")])


def _swatches(keys):
    items = "".join(f"<li>{_swatch(color)}{_text(name)}</li>" for color, name in keys)
    return f'<ul class="legend">{items}</ul>'


def _swatch(color):
    red, green, blue = (int(c) for c in color)
    return f'<i style="background:rgb({red},{green},{blue})"></i>'


def _headline(rows):
    tiles = []
    for name, (coarse, refined) in rows:
        change = "" if None in (coarse, refined) else _change(coarse, refined)
        tiles.append(
            f'<div class="tile"><span>{_text(name)}, refined, in percent</span><b>{_percent(refined)}</b>'
            f"<span>{change} from coarse {_percent(coarse)}</span></div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _tables(rows, class_names, palette):
    """Two tables: the means, and by class with IoU and boundary IoU beside each other."""
    head = '<th scope="col" class="group">coarse</th><th scope="col">refined</th><th scope="col">difference</th>'
    means = "".join(f'<tr><th scope="row">{_text(name)}</th>{_cells(*values)}</tr>' for name, values in rows[:4])
    count = len(class_names)
    classes = "".join(
        f'<tr><th scope="row">{_swatch(color)}{_text(name)}</th>{_cells(*iou)}{_cells(*boundary)}</tr>'
        for name, color, (_, iou), (_, boundary) in zip(
            class_names, palette, rows[4 : 4 + count], rows[4 + count :], strict=True
        )
    )
    return (
        "<p>In percent; the better one of two is bold. Boundary IoU: Cheng et al. 2021, width 2 % of the diagonal "
        "unless set otherwise. A dash: the class does not occur.</p>"
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{means}</tbody></table></div>'
        '<div class="scroll"><table><thead><tr><th rowspan="2">class</th><th colspan="3" class="group">IoU</th>'
        f'<th colspan="3" class="group">boundary IoU</th></tr><tr>{head}{head}</tr></thead>'
        f"<tbody>{classes}</tbody></table></div>"
    )


def _cells(coarse, refined):
    if None in (coarse, refined):
        return f'<td class="group">{_percent(coarse)}</td><td>{_percent(refined)}</td><td>-</td>'
    # Compared as shown: numbers that print alike are neither better nor worse.
    sign = (round(100 * refined, 2) > round(100 * coarse, 2)) - (round(100 * refined, 2) < round(100 * coarse, 2))
    cells = [f"<b>{_percent(coarse)}</b>" if sign < 0 else _percent(coarse)]
    cells += [f"<b>{_percent(refined)}</b>" if sign > 0 else _percent(refined)]
    return f'<td class="group">{cells[0]}</td><td>{cells[1]}</td><td>{_change(coarse, refined)}</td>'


def _change(coarse, refined):
    shown = f"{100 * (refined - coarse):+.2f}"
    kind = "same" if float(shown) == 0 else "up" if shown[0] == "+" else "down"
    return f'<span class="{kind}">{shown.replace("-", "&minus;")}</span>'


def _percent(value):
    return "-" if value is None else f"{100 * value:.2f}"


def _figure(picture, caption, *, kind="png", note="", pixelated=False):
    mode = ' class="pixelated"' if pixelated else ""
    note = f"<small>{_text(note)}</small>" if note else ""
    return (
        f'<figure><img src="{data_uri(picture, kind)}" alt="{_text(caption)}"{mode}>'
        f"<figcaption>{_text(caption)}{note}</figcaption></figure>"
    )


def data_uri(picture: np.ndarray, kind: str) -> str:
    """Writes a picture, RGB uint8 [H, W, 3], as the address of an <img>; kind is "png" or "jpg"."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 88] if kind == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    written, data = cv2.imencode(f".{kind}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not written:
        raise ValueError(f"picture of shape {picture.shape} could not be written as {kind}")
    mime = "jpeg" if kind == "jpg" else "png"
    return f"data:image/{mime};base64,{base64.b64encode(data.tobytes()).decode()}"


def _fit(picture, max_side):
    factor = max_side / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _text(value):
    return html.escape(str(value))
