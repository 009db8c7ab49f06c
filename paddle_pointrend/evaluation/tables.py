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
    return _text_table(list(summaries), summary_rows(summaries, class_names), 4)


def run_table(runs: Mapping[str, Mapping[str, dict]], class_names: Sequence[str] | None = None) -> str:
    """Writes two runs side by side: every prediction of each, and the last of the second minus the last of the first.

    Args:
        runs: dict from a run's name to the summaries of its predictions, by their names.
        class_names: as in `summary_rows`.
    """
    columns = _run_columns(runs)
    return _text_table(list(columns), summary_rows(columns, class_names), 4, _last_of_each(runs))


def instance_run_table(runs: Mapping[str, Mapping[str, dict]], class_names: Sequence[str]) -> str:
    """Writes `instance_rows` of two runs as `run_table` writes its rows."""
    columns = _run_columns(runs)
    return _text_table(list(columns), instance_rows(columns, class_names), 3, _last_of_each(runs))


def _run_columns(runs):
    return {f"{run} {name}": summary for run, summaries in runs.items() for name, summary in summaries.items()}


def _last_of_each(runs):
    first, second = (len(summaries) for summaries in runs.values())
    return first - 1, first + second - 1


def instance_rows(summaries: Mapping[str, dict], class_names: Sequence[str]) -> list[tuple[str, list[float | None]]]:
    """Lists the rows of a table of instances.

    Args:
        summaries: dict from a prediction's name to what `InstanceMetrics.summary` returned; where it has no "box",
            that column is empty.
        class_names: K names.

    Returns:
        list of (row name, [value or None for each prediction]), values in [0, 1]: the three APs, then each at single
        thresholds and by area, then mask AP and boundary AP of each class.
    """
    parts = list(summaries.values())
    kinds = ("box", "mask", "boundary")

    def values(kind, key):
        return [part.get(kind, {}).get(key) for part in parts]

    rows = [(f"{kind} AP", values(kind, "ap")) for kind in kinds]
    for title, key in (("AP50", "ap50"), ("AP75", "ap75")):
        rows += [(f"{kind} {title}", values(kind, key)) for kind in kinds]
    for area in ("small", "medium", "large"):
        rows += [(f"{kind} AP, {area}", values(kind, f"ap_{area}")) for kind in kinds]
    for kind in ("mask", "boundary"):
        of_classes = values(kind, "class_ap")
        rows += [
            (f"{kind} AP: {name}", [part and part[i] for part in of_classes]) for i, name in enumerate(class_names)
        ]
    return rows


def instance_table(summaries: Mapping[str, dict], class_names: Sequence[str]) -> str:
    """Writes `instance_rows` as `comparison_table` writes its rows."""
    return _text_table(list(summaries), instance_rows(summaries, class_names), 3)


def _text_table(columns, rows, num_first, compared=(0, 1)):
    """Writes rows in percent, with the difference of two columns; a rule sets the first rows apart."""
    cells = [["", *columns] + (["difference"] if len(columns) > 1 else [])]
    for title, values in rows:
        row = [title] + ["-" if value is None else f"{100 * value:.2f}" for value in values]
        if len(values) > 1:
            first, second = (values[column] for column in compared)
            row.append("-" if first is None or second is None else f"{100 * (second - first):+.2f}")
        cells.append(row)
    lines = align_columns(cells)
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1 : num_first + 1], rule, *lines[num_first + 1 :]])


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Writes rows of cells as lines: the first column to the left, the others, numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    ]
