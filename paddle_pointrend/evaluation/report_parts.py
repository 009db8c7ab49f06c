"""What the HTML reports are put together of: pictures, legends, tables, curves, and the page around them."""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from paddle_pointrend.evaluation import visualize
from paddle_pointrend.evaluation.charts import curve_svg
from paddle_pointrend.evaluation.figures import ZOOM
from paddle_pointrend.evaluation.report_style import STYLE
from paddle_pointrend.files import write_whole

DIFFERENCE_KEYS = (
    (visualize.RIGHT_COLOR, "refined is right"),
    (visualize.WRONG_COLOR, "coarse was right"),
    (visualize.BOTH_WRONG_COLOR, "both are wrong"),
)


def checked_predictions(summaries: Mapping[str, dict]) -> list[str]:
    """Lists the predictions of a report: coarse and refined, or one. ValueError for others."""
    names = list(summaries)
    if names not in (["coarse", "refined"], ["prediction"]):
        raise ValueError(f"summaries has {names}, expected ['coarse', 'refined'] in this order, or one")
    return names


def write_page(
    path: str | os.PathLike,
    title: str,
    sections: Sequence[str],
    *,
    curves: Mapping[str, tuple] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Path:
    """Writes a page that loads nothing; an older file at `path` is replaced only when the new one is complete.

    Args:
        path: where to write; folders are made.
        title: of the page.
        sections: HTML.
        curves: dict from a curve's name to (iterations, values), shown below the sections.
        metadata: dict of what ran and how, shown at the end in its order.

    Returns:
        pathlib.Path of the file.
    """
    body = list(sections)
    if curves:
        charts = "".join(f"<figure>{curve_svg(name, *points)}</figure>" for name, points in curves.items())
        body.append(f'<section><h2>Training</h2><div class="charts">{charts}</div></section>')
    if metadata:
        lines = "".join(f"<dt>{text(key)}</dt><dd>{text(value)}</dd>" for key, value in metadata.items())
        body.append(f"<section><h2>Run</h2><dl>{lines}</dl></section>")
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.encode())
    return path


def headline(title: str, rows: Sequence[tuple[str, Sequence[float | None]]]) -> str:
    """Writes the title, and a tile for each row: the last of its values, and the change from the one before it."""
    tiles = []
    for name, values in rows:
        of, change = "", ""
        if len(values) == 2:
            of = ", refined"
            change = "" if None in values else _change(*values)
            change = f"<span>{change} from coarse {_percent(values[0])}</span>"
        tiles.append(
            f'<div class="tile"><span>{text(name)}{of}, in percent</span><b>{_percent(values[-1])}</b>{change}</div>'
        )
    return f'<header><h1>{text(title)}</h1><div class="tiles">{"".join(tiles)}</div></header>'


def measure_table(
    rows: Sequence[tuple[str, Sequence[Sequence[float | None]]]], columns: Sequence[str], groups: Sequence[str] = ("",)
) -> str:
    """Writes a table in percent, of two columns with their difference, the better one bold.

    Args:
        rows: (HTML of the row's head, for each group the values of its columns).
        columns: one or two predictions.
        groups: measures that stand beside each other.
    """
    names = [*columns, "difference"] if len(columns) == 2 else list(columns)
    first, *others = (f"{text(name)}</th>" for name in names)
    head = "".join([f'<th scope="col" class="group">{first}', *(f'<th scope="col">{other}' for other in others)])
    lines = [f"<tr><th></th>{head * len(groups)}</tr>"]
    if any(groups):
        titles = "".join(f'<th colspan="{len(names)}" class="group">{text(group)}</th>' for group in groups)
        lines = [f'<tr><th rowspan="2">class</th>{titles}</tr>', f"<tr>{head * len(groups)}</tr>"]
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(cells(*part) for part in parts)}</tr>' for name, parts in rows
    )
    return f'<div class="scroll"><table><thead>{"".join(lines)}</thead><tbody>{body}</tbody></table></div>'


def cells(*values: float | None) -> str:
    """Writes the cells of one value, or of two and their difference, the better one bold."""
    if len(values) == 1:
        return f'<td class="group">{_percent(values[0])}</td>'
    first, second = values
    if first is None or second is None:
        return f'<td class="group">{_percent(first)}</td><td>{_percent(second)}</td><td>-</td>'
    # Compared as shown: numbers that print alike are neither better nor worse.
    sign = (round(100 * second, 2) > round(100 * first, 2)) - (round(100 * second, 2) < round(100 * first, 2))
    shown = [f"<b>{_percent(first)}</b>" if sign < 0 else _percent(first)]
    shown += [f"<b>{_percent(second)}</b>" if sign > 0 else _percent(second)]
    return f'<td class="group">{shown[0]}</td><td>{shown[1]}</td><td>{_change(first, second)}</td>'


def _change(coarse, refined):
    shown = f"{100 * (refined - coarse):+.2f}"
    kind = "same" if float(shown) == 0 else "up" if shown[0] == "+" else "down"
    return f'<span class="{kind}">{shown.replace("-", "&minus;")}</span>'


def _percent(value):
    return "-" if value is None else f"{100 * value:.2f}"


def article(name: str, note: str, figures: Sequence[str], columns: int) -> str:
    """Writes what is shown of one image, so many figures in a row."""
    panels = f'<div class="panels" style="--columns:{columns}">{"".join(figures)}</div>'
    return f"<article><h3>{text(name)}</h3><p>{text(note)}</p>{panels}</article>"


def panel_figures(
    panels: Sequence[np.ndarray], names: Sequence[str], window: tuple[slice, slice], max_side: int
) -> list[str]:
    """Writes pictures of an image with a frame around a window, the first as JPEG, and then that window of each.

    Args:
        panels: RGB uint8 [H, W, 3] each.
        names: of the panels.
        window: rows and columns.
        max_side: pictures longer than this are shrunk, windows are not.
    """
    whole = [
        figure(fit(visualize.draw_frame(panel, *window), max_side), name, kind="png" if i else "jpg")
        for i, (panel, name) in enumerate(zip(panels, names))
    ]
    return whole + [figure(panel[window], f"{name}, {ZOOM}x", pixelated=True) for panel, name in zip(panels, names)]


def figure(picture: np.ndarray, caption: str, *, kind: str = "png", note: str = "", pixelated: bool = False) -> str:
    """Writes a picture, RGB uint8 [H, W, 3], with its caption; kind is "png" or "jpg"."""
    mode = ' class="pixelated"' if pixelated else ""
    note = f"<small>{text(note)}</small>" if note else ""
    return (
        f'<figure><img src="{data_uri(picture, kind)}" alt="{text(caption)}"{mode}>'
        f"<figcaption>{text(caption)}{note}</figcaption></figure>"
    )


def data_uri(picture: np.ndarray, kind: str) -> str:
    """Writes a picture, RGB uint8 [H, W, 3], as the address of an <img>; kind is "png" or "jpg"."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 88] if kind == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    written, data = cv2.imencode(f".{kind}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not written:
        raise ValueError(f"picture of shape {picture.shape} could not be written as {kind}")
    mime = "jpeg" if kind == "jpg" else "png"
    return f"data:image/{mime};base64,{base64.b64encode(data.tobytes()).decode()}"


def fit(picture: np.ndarray, max_side: int) -> np.ndarray:
    """Shrinks a picture whose longer side is more than max_side pixels."""
    factor = max_side / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def class_legend(class_names: Sequence[str], palette: np.ndarray) -> str:
    """Writes the HTML list of the classes' names and colours [K, 3], with that of ignored pixels at the end."""
    keys = [(tuple(int(c) for c in color), name) for color, name in zip(palette, class_names)]
    return "<p>Classes:</p>" + swatches([*keys, (visualize.IGNORED_COLOR, "ignored")])


def swatches(keys: Sequence[tuple[tuple[int, ...], str]]) -> str:
    """Writes a list of (RGB colour, what it means)."""
    return f'<ul class="legend">{"".join(f"<li>{swatch(color)}{text(name)}</li>" for color, name in keys)}</ul>'


def swatch(color: Sequence[int]) -> str:
    """Writes a small square of an RGB colour."""
    red, green, blue = (int(c) for c in color)
    return f'<i style="background:rgb({red},{green},{blue})"></i>'


def difference_verdict(counts: Mapping[str, int]) -> str:
    """Tells the counts of `visualize.difference_map` in words."""
    different, counted = counts["different"], counts["counted"]
    if not different:
        return "The two predictions agree on every judged pixel."
    shares = {key: 100 * counts[key] / different for key in ("refined_right", "coarse_right", "both_wrong")}
    return (
        f"{different} pixels differ ({100 * different / counted:.2f} % of those judged): refined is right on "
        f"{counts['refined_right']} ({shares['refined_right']:.0f} %), coarse on {counts['coarse_right']} "
        f"({shares['coarse_right']:.0f} %), neither on {counts['both_wrong']} ({shares['both_wrong']:.0f} %)."
    )


def text(value: object) -> str:
    """Escapes a value for HTML."""
    return html.escape(str(value))
