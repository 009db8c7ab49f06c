"""The sections of scripts/benchmark.py: which entries run on which workloads, in groups of processes."""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from tqdm import tqdm

from benchmarking import torch_networks
from benchmarking.networks import EXPORTS, INT8
from benchmarking.report import Record
from benchmarking.torch_networks import REFERENCE
from benchmarking.workers import Worker, WorkerError, measure, run_once

ENTRIES = (*EXPORTS, *torch_networks.EXPORTED, *torch_networks.EAGER[1:], "paddle", "paddleseg")
EXPORTED = (*EXPORTS, *torch_networks.EXPORTED)
STEP_POINTS = 8196  # mmsegmentation's


class Benchmark:
    """Runs the sections, each a method that returns its records.

    Args:
        args: of `main`.
        folder: for exported networks and weights; large.
    """

    def __init__(self, args: argparse.Namespace, folder: pathlib.Path):
        self.args, self.folder = args, folder
        self.logs = args.save_dir / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.runtimes = [entry for entry in args.entries if entry in EXPORTS]
        self.prepared = set()

    def section_runtimes(self) -> list[Record]:
        units = [[entry, f"coarse {entry}"] if entry in EXPORTED else [entry] for entry in self.args.entries]
        groups = grouped([[f"coarse {REFERENCE}"], *units], self.args.alive)
        shapes = [(batch, *size) for batch in self.args.batches for size in self.args.sizes]
        self._prepare_networks(shapes)
        return self._measured("network", [(shape, None, group) for shape in shapes for group in groups])

    def section_fidelity(self) -> list[Record]:
        self._prepare_networks([(1, *size) for size in self.args.sizes])
        entries = [entry for entry in self.args.entries if entry != "paddleseg"]  # its weights are its own
        records = []
        for size in tqdm(self.args.sizes, desc="fidelity"):
            shape = (self.args.images, *size)
            records += self._differences(shape, "coarse", [entry for entry in entries if entry in EXPORTED])
            records += self._differences(shape, "pointrend", entries)
        return records

    def section_refinement(self) -> list[Record]:
        return self._refinement([((1, *size), STEP_POINTS) for size in self.args.resolutions])

    def section_points(self) -> list[Record]:
        return self._refinement([((1, *self.args.sizes[0]), count) for count in self.args.points])

    def section_training(self) -> list[Record]:
        shapes = [(1, *size) for size in self.args.sizes[:1]]
        units = [["paddle", "coarse paddle"], ["paddle-static"]]
        groups = grouped(units, self.args.alive)
        return self._measured("training", [(shape, None, group) for shape in shapes for group in groups])

    def _refinement(self, workloads):
        best = self.runtimes[:1]
        points = sorted({STEP_POINTS, *self.args.points})
        self._prepare("prepare_stub", formats=self._formats(best), points=points)
        groups = [[REFERENCE, "paddle"], *([runtime, f"coarse {runtime}"] for runtime in best)]
        return self._measured("refinement", [(*workload, group) for workload in workloads for group in groups])

    def _measured(self, task, jobs):
        """Returns the records of every job, (shape, points, entries that run alternately)."""
        args, records = self.args, []
        with tqdm(total=len(jobs) * args.rounds, unit="round") as progress:
            for number, (shape, points, entries) in enumerate(jobs):
                progress.set_description(f"{'x'.join(map(str, shape))}{f', {points} points' if points else ''}")
                specs = [self._spec(task, entry, shape, points=points) for entry in entries]
                for record in measure(specs, args.rounds, args.budget, self.logs, progress):
                    records.append({**record, "group": number, "points": points})
        return records

    def _differences(self, shape, part, entries):
        """Measures how far entries are from the reference, image by image, one record for each."""
        prefix = "coarse " if part == "coarse" else ""
        files = {entry: self.folder / f"{entry}.npy" for entry in (REFERENCE, *entries)}
        records = []
        for entry, file in files.items():
            record = {"entry": entry, "shape": list(shape), "part": part, "error": None}
            try:
                run_once(self._spec("outputs", f"{prefix}{entry}", shape), self.logs / "fidelity.log", save=file)
            except WorkerError as error:
                if entry == REFERENCE:
                    raise
                record["error"] = str(error)
            else:
                if entry != REFERENCE:
                    record |= differences(np.load(file, "r"), np.load(files[REFERENCE], "r"))
                    file.unlink()  # of large images it is gigabytes
            records.append(record)
        files[REFERENCE].unlink()
        return records[1:]

    def _prepare_networks(self, shapes):
        """Writes weights, our exported networks, and torch's, which are of one shape each."""
        self._prepare("prepare", formats=self._formats(self.runtimes))
        if any(entry in torch_networks.EXPORTED for entry in self.args.entries):
            for shape in shapes:
                self._prepare("prepare_torch", shape)

    def _prepare(self, task, shape=(1, 1, 1), **options):
        """Runs a task that writes what the entries need; once."""
        if (task, shape) not in self.prepared:
            print(f"{task.replace('_', ' ')}: weights and exported networks", flush=True)
            Worker(self._spec(task, task, shape, **options), self.logs / f"{task}.log").close()
            self.prepared.add((task, shape))

    def _spec(self, task, entry, shape, **options):
        args = self.args
        spec = {"task": task, "entry": entry, "shape": shape, "folder": str(self.folder), "network": args.network}
        if EXPORTS.get(entry.split()[-1], "").startswith("onnx"):
            # The third image of a size is the one for which such a runtime compiles; and it does not need Paddle.
            options |= {"warmups": 3, "environment": {"PADDLE_POINTREND_RUNTIME_ONLY": "1"}}
        return {**spec, "threads": args.threads, "clock": args.clock, **options}

    @staticmethod
    def _formats(runtimes):
        formats = {EXPORTS[runtime] for runtime in runtimes}
        return sorted(formats | {format.removesuffix(INT8) for format in formats})  # int8 is made of float32


SECTIONS = [name.removeprefix("section_") for name in vars(Benchmark) if name.startswith("section_")]


def grouped(units: list[list[str]], alive: int) -> list[list[str]]:
    """Makes groups of at most `alive` entries (more, where one unit is larger), the reference first in each.

    Args:
        units: lists of entries that belong together.
        alive: how many processes may live at the same time.
    """
    groups = []
    for unit in units:
        if not groups or len(groups[-1]) + len(unit) > alive:
            groups.append([REFERENCE])
        groups[-1] += unit
    return groups


def differences(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Measures how far logits [N, K, H, W] are from others, and their labels."""
    different = np.mean([(a.argmax(axis=0) != b.argmax(axis=0)).mean() for a, b in zip(ours, theirs)])
    largest = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs))
    return {"max_difference": largest, "labels_different": float(different)}
