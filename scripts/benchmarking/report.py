"""What the raw seconds of scripts/benchmark.py say: ratios within a round, quartiles, tables in Markdown, targets.

Everything works on the report, the content of benchmark.json: section -> {"machine", "settings", "records"}; a record
is what `workers.measure` returns for an entry, with its group. Ratios and differences are taken between runs of
the same round and group, which saw the same machine.
"""

import itertools
import math

import numpy as np

from benchmarking.networks import REDUCED

REFERENCE = "mmsegmentation"
RATIO_BOUND = 0.50  # our exported network to mmsegmentation's
SHARE_BOUNDS = {(512, 1024): 0.08, (1024, 2048): 0.05}  # refinement on top of the coarse network
MEMORY_SIZE = (1024, 2048)
LOGITS_BOUND, LABELS_BOUND = 1e-4, 1e-5  # exported to eager


def spread(values):
    """(first quartile, median, third quartile), None of nothing."""
    return tuple(map(float, np.percentile(values, [25, 50, 75]))) if len(values) else None


def pairs(records, first, second):
    """The seconds of two entries, [rounds, 2], in rounds of a group that both took part in.

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


def workloads(records):
    """(shape, points or None) -> records, in the order of their first appearance."""
    found = {}
    for record in records:
        found.setdefault((tuple(record["shape"]), record.get("points")), []).append(record)
    return found


def runtime_rows(records):
    """One dict for each entry of one workload: what the table shows. Groups of the same entry are pooled."""
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


def share_rows(records):
    """Runtime -> quartiles of what refinement adds to the coarse network, as a share of that, in one workload."""
    shares = {}
    for runtime in dict.fromkeys(record["entry"] for record in records):
        both = pairs(records, runtime, f"coarse {runtime}")
        if len(both):
            shares[runtime] = spread(both[:, 0] / both[:, 1] - 1)
    return shares


def best_runtime(section):
    """The exported runtime in float32 with the lowest mean ratio to mmsegmentation over the workloads; or None."""
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


def refinement_seconds(records):
    """Entry -> seconds of refinement in one workload; an exported one's are those beyond its own coarse network's."""
    seconds, entries = {}, dict.fromkeys(record["entry"] for record in records)
    for entry in entries:
        both = pairs(records, entry, f"coarse {entry}")
        if len(both):
            seconds[entry] = both[:, 0] - both[:, 1]
        elif not entry.startswith("coarse ") and f"coarse {entry}" not in entries:
            own = [value for record in records if record["entry"] == entry for value in record["seconds"]]
            seconds[entry] = np.array([value for value in own if value is not None])
    return {entry: values for entry, values in seconds.items() if len(values)}


def growth(section):
    """Entry -> the exponent of its refinement's time in the number of pixels: 1 is linear; where two sizes or more ran.

    The slope of the least squares line through the medians, both axes logarithmic.
    """
    points = {}
    for (shape, _), records in workloads(section["records"]).items():
        for entry, seconds in refinement_seconds(records).items():
            if np.median(seconds) > 0:
                points.setdefault(entry, []).append((np.log(np.prod(shape)), np.log(np.median(seconds))))
    return {entry: float(np.polyfit(*zip(*rows), 1)[0]) for entry, rows in points.items() if len(rows) > 1}


def targets(report):
    """What was to be shown, as far as it was measured: (sentence, value, bound), met where value <= bound.

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
            found.append((f"eager refinement to torch's, {_title(shape)}", value, 1.0))
    for entry, exponent in growth(report["refinement"]).items() if "refinement" in report else ():
        if entry != REFERENCE:
            found.append((f"refinement's time in pixels, exponent, {entry}", exponent, 1.0))
    for record in report.get("fidelity", {"records": []})["records"]:
        if record["runtime"].endswith(REDUCED):
            continue
        where = f"{record['runtime']} ({record['format']}), {_title(record['shape'])}"
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
            found.append((f"{entry} to mmsegmentation, {_title(shape)}", rows[entry]["ratio"][1], RATIO_BOUND))
        found.append(
            (f"refinement on top of coarse, {best}, {_title(shape)}", shares[best][1], SHARE_BOUNDS[shape[1:]])
        )
        if shape[1:] == MEMORY_SIZE:
            ratio = rows[best]["peak_bytes"] / rows[REFERENCE]["peak_bytes"]
            found.append((f"peak memory, {best} to mmsegmentation, {_title(shape)}", ratio, 1.0))
    return found


def markdown(report):
    """The whole report as Markdown tables."""
    parts = []
    if "runtimes" in report:
        parts += [_heading("Whole networks", report["runtimes"]), *_runtime_tables(report["runtimes"])]
    if "fidelity" in report:
        parts += [_heading("Exported against eager", report["fidelity"]), _fidelity_table(report["fidelity"])]
    for name, title in (("refinement", "Refinement against resolution"), ("points", "Refinement against points")):
        if name in report:
            parts += [_heading(title, report[name]), _refinement_table(report[name])]
    if "refinement" in report and (exponents := growth(report["refinement"])):
        words = ", ".join(f"{entry} {exponent:.2f}" for entry, exponent in exponents.items())
        parts.append(f"Exponents of time in pixels (1 is linear): {words}.")
    if "training" in report:
        parts += [_heading("One training step", report["training"]), _training_table(report["training"])]
    parts += ["## Targets", _targets_table(targets(report)), "## Versions", _versions(report)]
    return "\n\n".join(parts) + "\n"


def _runtime_tables(section):
    for (shape, _), records in workloads(section["records"]).items():
        rows = [("", "rounds", "seconds", f"ratio to {REFERENCE}", "MB when loaded", "peak MB")]
        for row in runtime_rows(records):
            rounds = f"{row['rounds']}{' (cold)' if row['cold'] else ''}"
            error = f" ({row['error']})" if row["error"] else ""
            memory = _megabytes(row["loaded_bytes"]), _megabytes(row["peak_bytes"])
            rows.append((row["entry"] + error, rounds, _quartiles(row["seconds"]), _quartiles(row["ratio"]), *memory))
        yield f"### {_title(shape)}\n\n{_table(rows)}"
        shares = share_rows(records)
        words = (f"{name} {_quartiles(share, '.1%')}" for name, share in shares.items())
        if shares:
            yield f"Refinement on top of the coarse network: {'; '.join(words)}."


def _fidelity_table(section):
    rows = [("runtime", "format", "images", "network", "largest difference of logits", "pixels of another label")]
    for record in section["records"]:
        if record["error"]:
            values = record["error"], "-"
        else:
            values = f"{record['max_difference']:.1e}", f"{record['labels_different']:.1e}"
        rows.append((record["runtime"], record["format"], _title(record["shape"]), record["part"], *values))
    return _table(rows)


def _refinement_table(section):
    rows = [("images", "points a step", "", "rounds", "ms", "ms a megapixel", f"ratio to {REFERENCE}", "peak MB")]
    for (shape, points), records in workloads(section["records"]).items():
        known = refinement_seconds(records)
        both = pairs(records, "paddle", REFERENCE)
        for row in runtime_rows(records):
            entry, seconds = row["entry"], known.get(row["entry"])
            if seconds is None and not row["error"]:
                continue  # the stub alone
            times = ("-", "-", "-")
            if seconds is not None:
                milliseconds = spread(1000 * seconds)
                each = f"{milliseconds[1] / np.prod(shape) * 1e6:.0f}"
                ratio = _quartiles(spread(both[:, 0] / both[:, 1])) if entry == "paddle" and len(both) else "-"
                times = (_quartiles(milliseconds, ".0f"), each, ratio)
            name = f"{entry} ({row['error']})" if row["error"] else entry
            rows.append((_title(shape), str(points), name, str(row["rounds"]), *times, _megabytes(row["peak_bytes"])))
    return _table(rows)


def _training_table(section):
    rows = [("images", "SemanticFPN, seconds", "PointRend, seconds", "ratio", "peak MB")]
    for record in section["records"]:
        if record["error"]:
            rows.append((_title(record["shape"]), record["error"], "-", "-", "-"))
            continue
        alone, whole = np.array(record["seconds"]).T
        texts = (_quartiles(spread(values)) for values in (alone, whole, whole / alone))
        rows.append((_title(record["shape"]), *texts, _megabytes(record["peak_bytes"])))
    return _table(rows)


def _targets_table(found):
    rows = [("", "measured", "wanted", "")]
    for sentence, value, bound in found:
        rows.append((sentence, f"{value:.3g}", f"<= {bound:g}", "met" if value <= bound else "**missed**"))
    return _table(rows)


def _heading(title, section):
    machine, settings = section["machine"], section["settings"]
    load = "" if machine["load"] is None else f", load {machine['load']:.1f} before"
    where = f"{settings['network']}, {settings['threads']} threads, {machine['cpu']}, {machine['date']}{load}"
    return f"## {title}\n\n{where}; medians and quartiles."


def _versions(report):
    """One line for each set of versions that the sections were measured with."""
    sections = {}
    for name, section in report.items():
        versions = ", ".join(f"{package} {version}" for package, version in section["machine"]["versions"].items())
        sections.setdefault(versions, []).append(name)
    return "\n\n".join(f"{', '.join(names)}: {versions}." for versions, names in sections.items())


def _title(shape):
    return f"{shape[0]}x{shape[1]}x{shape[2]}"


def _quartiles(values, form=".3f"):
    return "-" if values is None else "{1:{form}} ({0:{form}} to {2:{form}})".format(*values, form=form)


def _megabytes(count):
    return f"{count / 1e6:.0f}" if count else "-"


def _table(rows):
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)
