"""The report of scripts/benchmark.py as tables in Markdown."""

from __future__ import annotations

import numpy as np

from benchmarking.report import (
    REFERENCE,
    Section,
    growth,
    pairs,
    refinement_seconds,
    runtime_rows,
    shape_title,
    share_rows,
    spread,
    targets,
    workloads,
)


def markdown(report: dict[str, Section]) -> str:
    """Writes the whole report as Markdown tables."""
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
        yield f"### {shape_title(shape)}\n\n{_table(rows)}"
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
        rows.append((record["runtime"], record["format"], shape_title(record["shape"]), record["part"], *values))
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
            memory = _megabytes(row["peak_bytes"])
            rows.append((shape_title(shape), str(points), name, str(row["rounds"]), *times, memory))
    return _table(rows)


def _training_table(section):
    rows = [("images", "SemanticFPN, seconds", "PointRend, seconds", "ratio", "peak MB")]
    for record in section["records"]:
        if record["error"]:
            rows.append((shape_title(record["shape"]), record["error"], "-", "-", "-"))
            continue
        alone, whole = np.array(record["seconds"]).T
        texts = (_quartiles(spread(values)) for values in (alone, whole, whole / alone))
        rows.append((shape_title(record["shape"]), *texts, _megabytes(record["peak_bytes"])))
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
    """Writes one line for each set of versions that the sections were measured with."""
    sections = {}
    for name, section in report.items():
        versions = ", ".join(f"{package} {version}" for package, version in section["machine"]["versions"].items())
        sections.setdefault(versions, []).append(name)
    return "\n\n".join(f"{', '.join(names)}: {versions}." for versions, names in sections.items())


def _quartiles(values, form=".3f"):
    return "-" if values is None else "{1:{form}} ({0:{form}} to {2:{form}})".format(*values, form=form)


def _megabytes(count):
    return f"{count / 1e6:.0f}" if count else "-"


def _table(rows):
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)
