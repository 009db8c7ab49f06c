"""Tables of measures, for the terminal and the report."""

from collections.abc import Mapping, Sequence


def summary_rows(
    summaries: Mapping[str, dict], class_names: Sequence[str] | None = None
) -> list[tuple[str, list[float | None]]]:
    """Lists the rows that both the text table and the report show.

    Args:
        summaries: dict from a prediction's name to what `SegmentationMetrics.summary` returned.
        class_names: K names, or None for "class 0", "class 1", ...

    Returns:
        list of (row name, [value or None for each prediction]), values in [0, 1]: the four means, then IoU and
        boundary IoU of each class.
    """
    if not summaries:
        raise ValueError("no summaries given: pass at least one, e.g. {'refined': metrics.summary()}")
    parts = list(summaries.values())
    counts = sorted({len(part["class_iou"]) for part in parts})
    if len(counts) > 1:
        raise ValueError(f"the summaries have {counts} classes, expected the same number in each")
    names = [f"class {i}" for i in range(counts[0])] if class_names is None else list(class_names)
    if len(names) != counts[0]:
        raise ValueError(f"class_names has {len(names)} names, the summaries have {counts[0]} classes")
    means = [("mIoU", "miou"), ("mAcc", "macc"), ("pixel accuracy", "acc"), ("boundary IoU", "boundary_iou")]
    rows = [(title, [part[key] for part in parts]) for title, key in means]
    for title, key in (("IoU", "class_iou"), ("boundary IoU", "class_boundary_iou")):
        rows += [(f"{title}: {name}", [part[key][i] for part in parts]) for i, name in enumerate(names)]
    return rows


def comparison_table(summaries: Mapping[str, dict], class_names: Sequence[str] | None = None) -> str:
    """Writes a text table in percent: a column for each prediction, and with two of them the second minus the first.

    Args:
        summaries, class_names: as in `summary_rows`.

    Returns:
        str of several lines without a trailing newline; "-" where there is nothing to measure.
    """
    cells = [["", *summaries] + (["difference"] if len(summaries) == 2 else [])]
    for title, values in summary_rows(summaries, class_names):
        row = [title] + ["-" if value is None else f"{100 * value:.2f}" for value in values]
        if len(values) == 2:
            first, second = values
            row.append("-" if first is None or second is None else f"{100 * (second - first):+.2f}")
        cells.append(row)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])])
        for row in cells
    ]
    rule = "-" * len(lines[0])
    # The four means come first; a rule sets them apart from the classes.
    return "\n".join([lines[0], rule, *lines[1:5], rule, *lines[5:]])
