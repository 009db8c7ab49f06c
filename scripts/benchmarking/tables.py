"""The report of scripts/benchmark.py as Markdown: one table of the networks, and a line for each other workload."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarking.report import (
    Section,
    growth,
    label_shares,
    pairs,
    refinement_seconds,
    runtime_rows,
    shape_title,
    share_rows,
    spread,
    workloads,
)
from benchmarking.torch_networks import REFERENCE


def markdown(report: dict[str, Section]) -> str:
    """Writes the table of the networks, lines for the other sections, and what all of it was measured with."""
    parts = []
    if "runtimes" in report:
        parts += [_where(report["runtimes"]), _networks_table(report), *_reference_lines(report["runtimes"])]
    for name in ("refinement", "points"):
        if name in report:
            parts += [_where(report[name]), "\n".join(_refinement_lines(report[name]))]
    if "refinement" in report and (exponents := growth(report["refinement"])):
        words = ", ".join(f"{entry} {exponent:.2f}" for entry, exponent in exponents.items())
        parts.append(f"Exponents of refinement's time in pixels (1 is linear): {words}.")
    if "training" in report:
        parts += [_where(report["training"]), "\n".join(_training_lines(report["training"]))]
    return "\n\n".join([*parts, _versions(report)]) + "\n"


def _networks_table(report):
    """Writes a row for each entry and for each workload its ratio, refinement's share, memory and labels."""
    found = workloads(report["runtimes"]["records"])
    labels = label_shares(report)
    titles, cells = [""], {}
    for number, ((shape, _), records) in enumerate(found.items()):
        titles += [f"{shape_title(shape)}: time / {REFERENCE}'s", "refinement adds", "peak GB", "other labels"]
        shares = share_rows(records)
        for row in runtime_rows(records):
            entry = row["entry"]
            if entry.startswith("coarse "):
                continue
            ratio = row["error"] or f"{_quartiles(row['ratio'], '.2f')}{' (cold)' if row['cold'] else ''}"
            share, differ = shares.get(entry), labels.get((entry, shape[1:]))
            cells.setdefault(entry, ["-"] * (4 * len(found)))[4 * number : 4 * number + 4] = (
                ratio,
                f"{share[1]:.0%}" if share else "-",
                f"{row['peak_bytes'] / 1e9:.2f}" if row["peak_bytes"] else "-",
                "-" if differ is None else f"{differ:.0e}",
            )
    return _table([titles, *([entry, *texts] for entry, texts in cells.items())])


def _reference_lines(section) -> Iterator[str]:
    for (shape, _), records in workloads(section["records"]).items():
        for row in runtime_rows(records):
            if row["entry"] == REFERENCE:
                times = f"{_quartiles(row['seconds'], '.2f')} s, {_counted(row['rounds'], 'round')}"
                yield f"{REFERENCE}, {shape_title(shape)}: {times}."


def _refinement_lines(section) -> Iterator[str]:
    for (shape, points), records in workloads(section["records"]).items():
        words = [f"{name} {_quartiles(spread(1000 * s), '.0f')} ms" for name, s in refinement_seconds(records).items()]
        both = pairs(records, "paddle", REFERENCE)
        if len(both):
            words.append(f"paddle / {REFERENCE} {_quartiles(spread(both[:, 0] / both[:, 1]), '.2f')}")
        words += [f"{record['entry']}: {record['error']}" for record in records if record["error"]]
        yield f"- refinement of {shape_title(shape)}, {points} points a step: {'; '.join(words)}"


def _training_lines(section) -> Iterator[str]:
    for (shape, _), records in workloads(section["records"]).items():
        for row in runtime_rows(records):
            times = f"{_quartiles(row['seconds'], '.2f')} s, {_quartiles(row['ratio'], '.2f')} of {REFERENCE}'s"
            memory = f"{row['peak_bytes'] / 1e9:.2f} GB"
            yield f"- training step of {shape_title(shape)}, {row['entry']}: {row['error'] or f'{times}, {memory}'}"


def _where(section):
    machine, settings = section["machine"], section["settings"]
    load = "" if machine["load"] is None else f", load {machine['load']:.1f} before"
    where = (
        f"{settings['network']}, {_counted(settings['threads'], 'thread')}, {machine['cpu']}, {machine['date']}{load}"
    )
    clock = "processor time" if settings.get("clock") == "processor" else "by the clock"
    return f"{where}; {clock}, medians and quartiles:"


def _versions(report):
    """Writes one line for each set of versions that the sections were measured with."""
    sections = {}
    for name, section in report.items():
        versions = ", ".join(f"{package} {version}" for package, version in section["machine"]["versions"].items())
        sections.setdefault(versions, []).append(name)
    return "\n\n".join(f"{', '.join(names)}: {versions}." for versions, names in sections.items())


def _counted(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _quartiles(values, form):
    return "-" if values is None else "{1:{form}} ({0:{form}} to {2:{form}})".format(*values, form=form)


def _table(rows):
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)
