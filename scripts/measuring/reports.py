"""Results as a JSON file and a Markdown table, and the scores in them."""

from results_table import percent

from paddle_pointrend.files import write_json, write_whole

SCORES = {"miou": "mIoU", "boundary_iou": "boundary IoU"}  # key of SegmentationMetrics.summary -> title


def scores_of(metrics):
    """The SCORES of a SegmentationMetrics, a dict."""
    summary = metrics.summary()
    return {key: summary[key] for key in SCORES}


def score_cells(record):
    """The SCORES of a record in per cent, as cells of a Markdown row."""
    return " | ".join(percent(record[key]) for key in SCORES)


def write_report(folder, name, records, table):
    """Writes folder/NAME.json and folder/NAME.md, and prints the table and where it is."""
    write_json(folder / f"{name}.json", records)
    write_whole(folder / f"{name}.md", f"{table}\n".encode())
    print(table)
    print(f"wrote {name}.json and .md into {folder}")
