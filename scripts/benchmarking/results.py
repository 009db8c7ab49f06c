"""The files of scripts/benchmark.py: what an earlier run measured stays in them, with the machine that measured it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
from typing import Any

from benchmarking.report import Record, Section
from benchmarking.tables import markdown
from benchmarking.torch_networks import REFERENCE
from paddle_pointrend.files import write_json, write_whole

PACKAGES = (
    "paddlepaddle",
    "paddleseg",
    "openvino",
    "onnxruntime",
    "paddle2onnx",
    "torch",
    "mmsegmentation",
    "mmcv-lite",
    "numpy",
)


def merged(old: list[Record], new: list[Record]) -> list[Record]:
    """Joins the records of a section: new ones, and old ones of what was not measured anew; groups stay whole."""
    renewed = {_measured_thing(record) for record in new}
    references = (REFERENCE, f"coarse {REFERENCE}")
    stale = [r for r in old if _measured_thing(r) in renewed and r.get("entry") not in references]
    groups = {record.get("group") for record in stale}
    kept = [record for record in old if (record["group"] not in groups if "group" in record else record not in stale)]
    first = 1 + max((record.get("group", 0) for record in kept), default=-1)
    return kept + [{**record, "group": record["group"] + first} if "group" in record else record for record in new]


def _measured_thing(record):
    return (*record["shape"], *(record.get(key) for key in ("entry", "part", "points")))


def machine() -> dict[str, Any]:
    """Describes what the figures depend on."""
    versions = {}
    for package in PACKAGES:
        if any(True for _ in importlib.metadata.distributions(name=package)):
            versions[package] = importlib.metadata.version(package)
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def save(report: dict[str, Section], save_dir: pathlib.Path) -> None:
    """Writes benchmark.json, benchmark.md and benchmark.png."""
    from benchmarking.plots import draw

    write_json(save_dir / "benchmark.json", report)
    write_whole(save_dir / "benchmark.md", markdown(report).encode())
    if "runtimes" in report:
        write_whole(save_dir / "benchmark.png", draw(report["runtimes"]))
