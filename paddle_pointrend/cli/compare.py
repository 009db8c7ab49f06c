"""paddle-pointrend compare: the measures of two runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from paddle_pointrend.data.json_files import read_json
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.tables import instance_run_table, run_table

_MEANS, _OF_CLASSES = ("miou", "macc", "acc", "boundary_iou"), ("class_iou", "class_boundary_iou")
_KINDS = ("box", "mask", "boundary")  # of APs, of instances
_APS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("first", type=Path, metavar="A.json", help="what val --json wrote")
    parser.add_argument("second", type=Path, metavar="B.json", help="the same of another run; its gain is shown")


def run(args: argparse.Namespace) -> int:
    """Compares; returns the exit code."""
    paths = {"A": args.first, "B": args.second}
    runs = {letter: read_run(path) for letter, path in paths.items()}
    first, second = runs.values()
    if first["of"] != second["of"]:
        raise UsageError(f"{args.first} has measures of {first['of']}, {args.second} of {second['of']}: compare alike")
    if first["num_classes"] != second["num_classes"]:
        raise UsageError(
            f"{args.first} has {first['num_classes']} classes, {args.second} {second['num_classes']}: "
            "they are not of the same data"
        )
    for letter, found in runs.items():
        sources = [f"{key} {found[key]}" for key in ("config", "model_path") if found[key]]
        print(f"{letter}: {', '.join([str(paths[letter]), *sources])}")
    predictions = {letter: found["predictions"] for letter, found in runs.items()}
    names = second["classes"] or first["classes"]
    if first["of"] == "label maps":
        print(run_table(predictions, names))
    else:
        print(instance_run_table(predictions, names or [f"class {i}" for i in range(first["num_classes"])]))
    for what in ("images", "classes", "inference"):
        if None not in (first[what], second[what]) and first[what] != second[what]:
            print(f"note: the {what} differ: {first[what]} in A, {second[what]} in B")
    return 0


def read_run(path: Path) -> dict[str, Any]:
    """Reads what `val --json`, `val --report` or the demo wrote.

    Returns:
        dict with "of", "label maps" or "instances", "predictions", "num_classes", and "config", "model_path", "images",
        "classes", "inference", each None where the file does not say.

    Raises:
        UsageError: no such file, or another one.
    """
    content = read_json(path)
    content = content if isinstance(content, dict) else {}
    if "predictions" not in content:  # the demo's file has nothing else
        content = {"predictions": content}
    predictions = content["predictions"]
    summaries = list(predictions.values()) if isinstance(predictions, dict) else []
    if summaries and all(map(_is_summary, summaries)):
        of, counts = "label maps", {len(summary[key]) for summary in summaries for key in _OF_CLASSES}
    elif summaries and all(map(_is_instance_summary, summaries)):
        of, counts = "instances", {len(summary[kind]["class_ap"]) for summary in summaries for kind in _KINDS}
    else:
        raise UsageError(f"{path} holds no measures, expected what val --json wrote")
    names = content.get("classes")
    if names is not None:
        counts.add(len(names) if isinstance(names, list) else -1)
    if len(counts) > 1:
        raise UsageError(
            f"{path} has other numbers of classes in one place than in another; write it again by val --json"
        )
    (num_classes,) = counts
    details = {key: content.get(key) for key in ("config", "model_path", "images", "classes", "inference")}
    return {"of": of, "predictions": predictions, "num_classes": num_classes, **details}


def _is_summary(summary):
    return _has(summary, _MEANS, _OF_CLASSES)


def _is_instance_summary(summary):
    return isinstance(summary, dict) and all(_has(summary.get(kind), _APS, ["class_ap"]) for kind in _KINDS)


def _has(summary, means, lists):
    """Tells whether a dict has measures under some keys, and lists of them under others."""
    if not isinstance(summary, dict) or not all(key in summary and _is_measure(summary[key]) for key in means):
        return False
    parts = [summary.get(key) for key in lists]
    return all(isinstance(values, list) and all(map(_is_measure, values)) for values in parts)


def _is_measure(value):
    return value is None or isinstance(value, (int, float))
