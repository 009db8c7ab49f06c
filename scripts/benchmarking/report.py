"""What the raw seconds of scripts/benchmark.py say: ratios within a round, quartiles, targets.

Everything works on the report, the content of benchmark.json: section -> {"machine", "settings", "records"}; a record
is what `workers.measure` returns for an entry, with its group. Ratios and differences are taken between runs of
the same round and group, which saw the same machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarking.networks import REDUCED

Record = dict[str, Any]
Section = dict[str, Any]

REFERENCE = "mmsegmentation"
RATIO_BOUND = 0.50  # our exported network to mmsegmentation's
SHARE_BOUNDS = {(512, 1024): 0.08, (1024, 2048): 0.05}  # refinement on top of the coarse network
MEMORY_SIZE = (1024, 2048)
LOGITS_BOUND, LABELS_BOUND = 1e-4, 1e-5  # exported to eager


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


def best_runtime(section: Section) -> str | None:
    """Finds the exported runtime in float32 with the lowest mean ratio to mmsegmentation over the workloads."""
    ratios = {}
    for records in workloads(section["records"]).values():
        runtimes = share_rows(records)
        for row in runtime_rows(records):
            if row["entry"] in runtimes and row["ratio"] and not row["entry"].endswith(REDUCED):
                ratios.setdefault(row["entry"], []).append(row["ratio"][1])
    most = max(map(len, ratios.values()), default=0)
    return min(
        (name for name in ratios if len(ratios[name]) == most), key=lambda name: np.mean(ratios[name]), default=None
    )


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


def targets(report: dict[str, Section]) -> list[tuple[str, float, float]]:
    """Lists what was to be shown, as far as it was measured: (sentence, value, bound), met where value <= bound.

    Of what computes in bfloat16 the time alone.

    The value is NaN, and nothing is met, where an exported network failed to run.
    """
    found = []
    if "runtimes" in report and (best := best_runtime(report["runtimes"])):
        found += _runtime_targets(report["runtimes"], best)
    for (shape, _), records in workloads(report.get("refinement", {"records": []})["records"]).items():
        both = pairs(records, "paddle", REFERENCE)
        if len(both) and shape[1:] in SHARE_BOUNDS:
            value = float(np.median(both[:, 0] / both[:, 1]))
            found.append((f"eager refinement to torch's, {shape_title(shape)}", value, 1.0))
    for entry, exponent in growth(report["refinement"]).items() if "refinement" in report else ():
        if entry != REFERENCE:
            found.append((f"refinement's time in pixels, exponent, {entry}", exponent, 1.0))
    for record in report.get("fidelity", {"records": []})["records"]:
        if record["runtime"].endswith(REDUCED):
            continue
        where = f"{record['runtime']} ({record['format']}), {shape_title(record['shape'])}"
        if record["part"] == "coarse":
            value = record.get("max_difference", math.nan)
            found.append((f"coarse logits, largest difference, {where}", value, LOGITS_BOUND))
        else:
            value = record.get("labels_different", math.nan)
            found.append((f"pixels of another label, share, {where}", value, LABELS_BOUND))
    return found


def _runtime_targets(section, best):
    found = []
    for (shape, _), records in workloads(section["records"]).items():
        rows = {row["entry"]: row for row in runtime_rows(records)}
        if best not in rows or not rows[best]["ratio"] or shape[1:] not in SHARE_BOUNDS:
            continue
        shares = share_rows(records)
        reduced = [entry for entry in shares if entry.endswith(REDUCED) and rows[entry]["ratio"]]
        for entry in (best, *reduced):
            found.append((f"{entry} to mmsegmentation, {shape_title(shape)}", rows[entry]["ratio"][1], RATIO_BOUND))
        found.append(
            (f"refinement on top of coarse, {best}, {shape_title(shape)}", shares[best][1], SHARE_BOUNDS[shape[1:]])
        )
        if shape[1:] == MEMORY_SIZE:
            ratio = rows[best]["peak_bytes"] / rows[REFERENCE]["peak_bytes"]
            found.append((f"peak memory, {best} to mmsegmentation, {shape_title(shape)}", ratio, 1.0))
    return found
