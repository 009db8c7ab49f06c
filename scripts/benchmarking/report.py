"""What the raw seconds of scripts/benchmark.py say: ratios within a round, quartiles.

Everything works on the report, the content of benchmark.json: section -> {"machine", "settings", "records"}; a record
is what `workers.measure` returns for an entry, with its group. Ratios and differences are taken between runs of
the same round and group, which saw the same machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarking.torch_networks import REFERENCE

Record = dict[str, Any]
Section = dict[str, Any]


def spread(values: Sequence[float] | np.ndarray) -> tuple[float, float, float] | None:
    """Works out (first quartile, median, third quartile), None of nothing."""
    return tuple(map(float, np.percentile(values, [25, 50, 75]))) if len(values) else None


def shape_title(shape: Sequence[int]) -> str:
    """Writes a shape as NxHxW."""
    return f"{shape[0]}x{shape[1]}x{shape[2]}"


def pairs(records: list[Record], first: str, second: str) -> np.ndarray:
    """Picks the seconds of two entries, [rounds, 2], in rounds of a group that both took part in.

    Args:
        records: of one workload.
        first, second: entries' names.
    """
    found = []
    for _, group in itertools.groupby(records, key=lambda record: record["group"]):
        seconds = {record["entry"]: record["seconds"] for record in group}
        if first in seconds and second in seconds:
            found += [row for row in zip(seconds[first], seconds[second]) if None not in row]
    return np.array(found, float).reshape(-1, 2)


def workloads(records: list[Record]) -> dict[tuple[tuple[int, ...], int | None], list[Record]]:
    """Sorts records by workload: (shape, points or None) -> records, in the order of their first appearance."""
    found = {}
    for record in records:
        found.setdefault((tuple(record["shape"]), record.get("points")), []).append(record)
    return found


def runtime_rows(records: list[Record]) -> list[dict[str, Any]]:
    """Makes one dict for each entry of one workload: what the table shows. Groups of the same entry are pooled."""
    rows = []
    for entry in dict.fromkeys(record["entry"] for record in records):
        own = [record for record in records if record["entry"] == entry]
        seconds = [value for record in own for value in record["seconds"] if value is not None]
        both = pairs(records, entry, REFERENCE)
        rows.append(
            {
                "entry": entry,
                "rounds": len(seconds),
                "cold": any(record["cold"] for record in own),
                "seconds": spread(seconds),
                "ratio": spread(both[:, 0] / both[:, 1]),
                "loaded_bytes": max((record["loaded_bytes"] or 0 for record in own), default=0),
                "peak_bytes": max((record["peak_bytes"] or 0 for record in own), default=0),
                "error": next((record["error"] for record in own if record["error"]), None),
            }
        )
    return rows


def label_shares(report: dict[str, Section]) -> dict[tuple[str, tuple[int, ...]], float]:
    """Picks the share of pixels whose label is not mmsegmentation's: (entry, (height, width)) -> share."""
    return {
        (record["entry"], tuple(record["shape"][1:])): record["labels_different"]
        for record in report.get("fidelity", {"records": []})["records"]
        if record["part"] == "pointrend" and not record["error"]
    }


def share_rows(records: list[Record]) -> dict[str, tuple[float, float, float]]:
    """Works out what refinement adds to the coarse network, as a share of that, in one workload.

    Returns:
        Runtime -> quartiles.
    """
    shares = {}
    for runtime in dict.fromkeys(record["entry"] for record in records):
        both = pairs(records, runtime, f"coarse {runtime}")
        if len(both):
            shares[runtime] = spread(both[:, 0] / both[:, 1] - 1)
    return shares


def refinement_seconds(records: list[Record]) -> dict[str, np.ndarray]:
    """Works out the seconds of refinement in one workload; an exported one's are beyond its own coarse network's.

    Returns:
        Entry -> seconds.
    """
    seconds, entries = {}, dict.fromkeys(record["entry"] for record in records)
    for entry in entries:
        both = pairs(records, entry, f"coarse {entry}")
        if len(both):
            seconds[entry] = both[:, 0] - both[:, 1]
        elif not entry.startswith("coarse ") and f"coarse {entry}" not in entries:
            own = [value for record in records if record["entry"] == entry for value in record["seconds"]]
            seconds[entry] = np.array([value for value in own if value is not None])
    return {entry: values for entry, values in seconds.items() if len(values)}


def growth(section: Section) -> dict[str, float]:
    """Fits how the time of refinement grows with the number of pixels, where two sizes or more ran.

    Returns:
        Entry -> exponent, 1 is linear: the slope of the least squares line through the medians, both axes logarithmic.
    """
    points = {}
    for (shape, _), records in workloads(section["records"]).items():
        for entry, seconds in refinement_seconds(records).items():
            if np.median(seconds) > 0:
                points.setdefault(entry, []).append((np.log(np.prod(shape)), np.log(np.median(seconds))))
    return {entry: float(np.polyfit(*zip(*rows), 1)[0]) for entry, rows in points.items() if len(rows) > 1}
