"""Confusion matrices as tables of the HTML report: where the pixels of each class went."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from paddle_pointrend.evaluation.confusion import nan_ratio


def confusion_tables(confusions: Mapping[str, np.ndarray], class_names: Sequence[str]) -> str:
    """Writes a table for each confusion matrix, in percent of each true class's pixels, darker where more went.

    Args:
        confusions: dict from a prediction's name to int [K, K], rows are labels, columns predictions.
        class_names: K names.

    Returns:
        HTML that takes its colours from the report's style.

    Raises:
        ValueError: a matrix is not [K, K].
    """
    parts = [
        "<p>A row is a class of the labels, a column what was predicted, in percent of the row's pixels; a dash: the "
        "class occurs in no label. An empty cell: less than 0.05 %.</p>"
    ]
    for name, confusion in confusions.items():
        is_last = name == list(confusions)[-1]
        parts.append(f"<details{' open' if is_last else ''}><summary>{html.escape(name)}</summary>")
        parts.append(f'<div class="scroll">{_table(np.asarray(confusion), class_names)}</div></details>')
    return "".join(parts)


def _table(confusion, class_names):
    if confusion.shape != (len(class_names),) * 2:
        raise ValueError(f"a confusion matrix is {confusion.shape}, expected [{len(class_names)}, {len(class_names)}]")
    names = [html.escape(name) for name in class_names]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = []
    for name, shares in zip(names, nan_ratio(confusion, confusion.sum(axis=1, keepdims=True))):
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(map(_cell, shares))}</tr>')
    return f'<table class="confusion"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _cell(share):
    if np.isnan(share):
        return "<td>-</td>"
    text = f"{100 * share:.1f}" if share >= 0.0005 else ""
    return f'<td style="--share:{100 * share:.0f}%">{text}</td>'
