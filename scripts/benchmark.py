"""Our network on every runtime against mmsegmentation's, PaddleSeg's own and the coarse network alone: time and memory.

    pip install -c constraints.txt -e ".[cpu,torch,onnx,openvino]"
    python scripts/benchmark.py                                   # everything
    python scripts/benchmark.py --network r50_cityscapes --sizes 128x256 --batches 1 --rounds 3 --budget 10 \
        --resolutions 128x256 256x512 --points 256 1024           # a try, minutes

Weights are random, the same on both sides; "-bf16" computes in bfloat16, all else in float32. Every entry lives in a
process of its own, and those of a group run alternately, round by round, mmsegmentation among them: only ratios within
a round mean anything on a machine that does other things too. Sections:

    runtimes     whole networks: time and peak memory
    fidelity     exported against eager: logits and labels
    refinement   its time against resolution, and mmsegmentation's point head on the same maps
    points       its time against the number of points
    training     a step of PointRend against one of SemanticFPN

Results go to --save_dir after each section; another run replaces what it measures anew.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import sys
import tempfile

import benchmark_report
import numpy as np
from arguments import positive_float, positive_int
from benchmark_networks import NETWORKS, REDUCED, RUNTIMES
from benchmark_workers import Worker, WorkerError, measure, run_once
from tqdm import tqdm

from paddle_pointrend.files import check_writable, write_json, write_whole

REFERENCE = benchmark_report.REFERENCE
ENTRIES = (*RUNTIMES, f"{REFERENCE}{REDUCED}", "paddle", "paddleseg")
STEP_POINTS = 8196  # mmsegmentation's
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


class Benchmark:
    """The sections, each a method that returns its records.

    Args:
        args: of `main`.
        folder: for exported networks and weights; large.
    """

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.logs = args.save_dir / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.runtimes = [entry for entry in args.entries if entry in RUNTIMES]
        self.prepared = set()

    def section_runtimes(self):
        units = [[entry, f"coarse {entry}"] if entry in RUNTIMES else [entry] for entry in self.args.entries]
        groups = grouped(units, self.args.alive)
        shapes = [(batch, *size) for batch in self.args.batches for size in self.args.sizes]
        self._prepare("prepare", formats=self._formats(self.runtimes))
        return self._measured("network", [(shape, None, group) for shape in shapes for group in groups])

    def section_fidelity(self):
        self._prepare("prepare", formats=self._formats(self.runtimes))
        records = []
        for size in tqdm(self.args.sizes, desc="fidelity"):
            for part in ("coarse", "pointrend"):
                records += self._differences((self.args.images, *size), part)
        return records

    def section_refinement(self):
        return self._refinement([((1, *size), STEP_POINTS) for size in self.args.resolutions])

    def section_points(self):
        return self._refinement([((1, *self.args.sizes[0]), count) for count in self.args.points])

    def section_training(self):
        shape, record = (1, *self.args.sizes[0]), {"error": None}
        print(f"training: {self.args.training_rounds} steps of each, and one before", flush=True)
        try:
            spec = self._spec("training", "training", shape, rounds=self.args.training_rounds)
            reply = run_once(spec, self.logs / "training.log")
            record |= {"seconds": reply["result"], "peak_bytes": reply["peak_bytes"]}
        except WorkerError as error:
            record["error"] = str(error)
        return [{"shape": list(shape), **record}]

    def _refinement(self, workloads):
        best = self.runtimes[:1]
        points = sorted({STEP_POINTS, *self.args.points})
        self._prepare("prepare_stub", formats=self._formats(best), points=points)
        groups = [[REFERENCE, "paddle"], *([runtime, f"coarse {runtime}"] for runtime in best)]
        return self._measured("refinement", [(*workload, group) for workload in workloads for group in groups])

    def _measured(self, task, jobs):
        """The records of every job, (shape, points, entries that run alternately)."""
        args, records = self.args, []
        with tqdm(total=len(jobs) * args.rounds, unit="round") as progress:
            for number, (shape, points, entries) in enumerate(jobs):
                progress.set_description(f"{'x'.join(map(str, shape))}{f', {points} points' if points else ''}")
                specs = [self._spec(task, entry, shape, points=points) for entry in entries]
                for record in measure(specs, args.rounds, args.budget, self.logs, progress):
                    records.append({**record, "group": number, "points": points})
        return records

    def _differences(self, shape, part):
        """How far the exported network is from the eager one, image by image, one record for each runtime."""
        prefix = "coarse " if part == "coarse" else ""
        files = {entry: self.folder / f"{entry}.npy" for entry in ("paddle", *self.runtimes)}
        records = []
        for entry, file in files.items():
            record = {
                "runtime": entry,
                "format": RUNTIMES.get(entry),
                "shape": list(shape),
                "part": part,
                "error": None,
            }
            try:
                spec = self._spec("outputs", f"{prefix}{entry}", shape)
                run_once(spec, self.logs / "fidelity.log", save=file)
            except WorkerError as error:
                if entry == "paddle":
                    raise
                record["error"] = str(error)
            else:
                if entry != "paddle":
                    record |= differences(np.load(file, "r"), np.load(files["paddle"], "r"))
                    file.unlink()  # of large images it is gigabytes
            records.append(record)
        for file in files.values():
            file.unlink(missing_ok=True)
        return records[1:]

    def _prepare(self, task, **options):
        """Runs a task that writes what the entries need; once."""
        if task not in self.prepared:
            print(f"{task.replace('_', ' ')}: weights and exported networks", flush=True)
            Worker(self._spec(task, task, (1, 1, 1), **options), self.logs / f"{task}.log").close()
            self.prepared.add(task)

    def _spec(self, task, entry, shape, **options):
        args = self.args
        spec = {"task": task, "entry": entry, "shape": shape, "folder": str(self.folder), "network": args.network}
        if RUNTIMES.get(entry.split()[-1]) == "onnx":
            # The third image of a size is the one for which such a runtime compiles; and it does not need Paddle.
            options |= {"warmups": 3, "environment": {"PADDLE_POINTREND_RUNTIME_ONLY": "1"}}
        return {**spec, "threads": args.threads, **options}

    @staticmethod
    def _formats(runtimes):
        return sorted({RUNTIMES[runtime] for runtime in runtimes})


SECTIONS = [name.removeprefix("section_") for name in vars(Benchmark) if name.startswith("section_")]


def grouped(units, alive):
    """Groups of at most `alive` entries (more, where one unit is larger), the reference first in each.

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


def merged(old, new):
    """The records of a section: new ones, and old ones of what was not measured anew; groups stay whole."""
    renewed = {_measured_thing(record) for record in new}
    stale = [record for record in old if _measured_thing(record) in renewed and record.get("entry") != REFERENCE]
    groups = {record.get("group") for record in stale}
    kept = [record for record in old if (record["group"] not in groups if "group" in record else record not in stale)]
    first = 1 + max((record.get("group", 0) for record in kept), default=-1)
    return kept + [{**record, "group": record["group"] + first} if "group" in record else record for record in new]


def _measured_thing(record):
    return (*record["shape"], *(record.get(key) for key in ("entry", "runtime", "part", "points")))


def differences(ours, theirs):
    """How far logits [N, K, H, W] are from others, and their labels."""
    different = np.mean([(a.argmax(axis=0) != b.argmax(axis=0)).mean() for a, b in zip(ours, theirs)])
    largest = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs))
    return {"max_difference": largest, "labels_different": float(different)}


def machine():
    """What the figures depend on."""
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


def save(report, save_dir):
    """Writes benchmark.json, benchmark.md and the pictures."""
    from benchmark_plots import draw

    write_json(save_dir / "benchmark.json", report)
    write_whole(save_dir / "benchmark.md", benchmark_report.markdown(report).encode())
    for name, png in draw(report).items():
        write_whole(save_dir / name, png)


def _size(text):
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, e.g. 512x1024, got {text!r}")
    return int(match[1]), int(match[2])


def _parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--network", choices=NETWORKS, default="r101_cityscapes")
    parser.add_argument("--entries", nargs="+", choices=ENTRIES, default=ENTRIES, help="beside mmsegmentation")
    parser.add_argument("--sizes", nargs="+", type=_size, default=[(512, 1024), (1024, 2048)], metavar="HxW")
    parser.add_argument("--batches", nargs="+", type=positive_int, default=[1, 4])
    parser.add_argument(
        "--resolutions",
        nargs="+",
        type=_size,
        metavar="HxW",
        help="of the section refinement; default: up to 4096x8192",
    )
    parser.add_argument("--points", nargs="+", type=positive_int, default=[1024, 4096, 8192, 16384, 32768, 65536])
    parser.add_argument("--images", type=positive_int, default=8, help="of the section fidelity")
    parser.add_argument("--rounds", type=positive_int, default=15)
    parser.add_argument("--training_rounds", type=positive_int, default=5)
    parser.add_argument("--budget", type=positive_float, default=60, help="seconds for the rounds of an entry")
    parser.add_argument(
        "--alive", type=positive_int, default=3, help="processes that live at the same time, idle or not"
    )
    parser.add_argument("--threads", type=positive_int, default=2)
    parser.add_argument("--save_dir", type=pathlib.Path, default=pathlib.Path("output/benchmark"))
    return parser


def main(argv=None):
    parser = _parser()
    args = parser.parse_args(argv)
    args.resolutions = args.resolutions or [(512 * 2**i, 1024 * 2**i) for i in range(4)]
    if importlib.util.find_spec("mmseg") is None:
        parser.error('mmsegmentation is not installed: pip install -c constraints.txt -e ".[torch]"')
    args.save_dir.mkdir(parents=True, exist_ok=True)
    file = args.save_dir / "benchmark.json"
    check_writable(file)
    report = json.loads(file.read_text()) if file.exists() else {}
    settings = {name: value for name, value in vars(args).items() if name not in ("only", "save_dir")}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(args, pathlib.Path(folder))
        for name in args.only:
            stamp = {"machine": machine(), "settings": settings}
            try:
                records = getattr(benchmark, f"section_{name}")()
                report[name] = {**stamp, "records": merged(report.get(name, {}).get("records", []), records)}
            except WorkerError as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed.append(name)
            save(report, args.save_dir)
    print(benchmark_report.markdown(report))
    print(f"wrote {', '.join(sorted(str(path) for path in args.save_dir.glob('*') if path.is_file()))}")
    if failed:
        print(f"sections that failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
