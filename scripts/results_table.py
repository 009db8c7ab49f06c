"""Puts the measures of several `paddle-pointrend val --json` files into one Markdown table.

    python scripts/results_table.py output/camvid/*/val.json

Files of the same config, trained with different seeds, become one row: every seed's value, then their mean.
A dash is a measure without a value: no class, or no boundary, occurs.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from measuring.tables import percent

MEASURES = {"miou": "mIoU", "macc": "mAcc", "boundary_iou": "boundary IoU"}


def collect(paths: list[str]) -> dict[tuple[str, str], list[dict]]:
    """Reads (config's name, prediction) -> summaries, one for each file, in the order of the paths."""
    rows = defaultdict(list)
    for path in paths:
        report = json.loads(Path(path).read_text())
        for prediction, summary in report["predictions"].items():
            rows[Path(report["config"]).stem, prediction].append(summary)
    return rows


def table(rows: dict[tuple[str, str], list[dict]]) -> str:
    """Writes the summaries of `collect` as a Markdown table."""
    lines = ["| config | prediction | " + " | ".join(MEASURES.values()) + " |", "|---|---|" + "---|" * len(MEASURES)]
    for (config, prediction), summaries in rows.items():
        cells = []
        for measure in MEASURES:
            values = [summary[measure] for summary in summaries]
            known = [value for value in values if value is not None]
            mean = sum(known) / len(known) if known else None
            cells.append(f"{', '.join(map(percent, values))}: **{percent(mean)}**" if known else "-")
        lines.append(f"| {config} | {prediction} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="JSON files that val wrote")
    print(table(collect(parser.parse_args(argv).files)))


if __name__ == "__main__":
    main()
