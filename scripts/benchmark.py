"""Our network on every runtime against mmsegmentation's, PaddleSeg's own and the coarse network alone: time and memory.

    pip install -c constraints.txt -e ".[cpu,torch,onnx,openvino]"
    python scripts/benchmark.py                                   # everything
    python scripts/benchmark.py --network r50_cityscapes --sizes 128x256 --batches 1 --rounds 3 --budget 10 \
        --resolutions 128x256 256x512 --points 256 1024           # a try, minutes

Weights are random, the same on both sides; "-bf16" computes in bfloat16, all else in float32. "mmsegmentation-..." is
what a torch user gets with a line: channels_last, torch.compile, torch.onnx.export in ONNX Runtime or OpenVINO. Every
entry lives in a process of its own, and those of a group run alternately, round by round, mmsegmentation among them:
only ratios within a round mean anything on a machine that does other things too. Sections:

    runtimes     whole networks: time and peak memory
    fidelity     logits and labels against mmsegmentation's
    refinement   its time against resolution, and mmsegmentation's point head on the same maps
    points       its time against the number of points
    training     a step of ours, of SemanticFPN's alone, and of mmsegmentation's

Results go to --save_dir after each section: benchmark.json has every round, benchmark.md and benchmark.png are made of
it; another run replaces what it measures anew. docs/benchmarks.json is such a file.
"""

import argparse
import importlib.util
import json
import pathlib
import sys
import tempfile

from benchmarking.networks import NETWORKS
from benchmarking.results import machine, merged, save
from benchmarking.sections import ENTRIES, SECTIONS, Benchmark
from benchmarking.tables import markdown
from benchmarking.workers import WorkerError
from measuring.arguments import image_size, positive_float, positive_int

from paddle_pointrend.files import check_writable


def _parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--network", choices=NETWORKS, default="r101_cityscapes")
    parser.add_argument("--entries", nargs="+", choices=ENTRIES, default=ENTRIES, help="beside mmsegmentation")
    parser.add_argument("--sizes", nargs="+", type=image_size, default=[(512, 1024), (1024, 2048)], metavar="HxW")
    parser.add_argument("--batches", nargs="+", type=positive_int, default=[1, 4])
    parser.add_argument(
        "--resolutions",
        nargs="+",
        type=image_size,
        metavar="HxW",
        help="of the section refinement; default: up to 4096x8192",
    )
    parser.add_argument("--points", nargs="+", type=positive_int, default=[1024, 4096, 8192, 16384, 32768, 65536])
    parser.add_argument("--images", type=positive_int, default=8, help="of the section fidelity")
    parser.add_argument("--rounds", type=positive_int, default=15)
    parser.add_argument("--budget", type=positive_float, default=60, help="seconds for the rounds of an entry")
    parser.add_argument(
        "--alive", type=positive_int, default=3, help="processes that live at the same time, idle or not"
    )
    parser.add_argument("--threads", type=positive_int, default=2)
    parser.add_argument(
        "--clock",
        choices=("wall", "processor"),
        default="wall",
        help="processor: time that a process computed, with --threads 1 the measure on a machine that others use",
    )
    parser.add_argument(
        "--from_json", type=pathlib.Path, metavar="FILE", help="measure nothing: an earlier run's table and picture"
    )
    parser.add_argument("--save_dir", type=pathlib.Path, default=pathlib.Path("output/benchmark"))
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.from_json:
        if not args.from_json.is_file():
            parser.error(f"--from_json {args.from_json}: no such file; expected a benchmark.json")
        return _show(json.loads(args.from_json.read_text()), args.save_dir)
    args.resolutions = args.resolutions or [(512 * 2**i, 1024 * 2**i) for i in range(4)]
    if importlib.util.find_spec("mmseg") is None:
        parser.error('mmsegmentation is not installed: pip install -c constraints.txt -e ".[torch]"')
    args.save_dir.mkdir(parents=True, exist_ok=True)
    file = args.save_dir / "benchmark.json"
    check_writable(file)
    report = json.loads(file.read_text()) if file.exists() else {}
    settings = {name: value for name, value in vars(args).items() if name not in ("only", "save_dir", "from_json")}
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
    _show(report, args.save_dir)
    if failed:
        print(f"sections that failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _show(report, save_dir):
    save_dir.mkdir(parents=True, exist_ok=True)
    save(report, save_dir)
    print(markdown(report))
    print(f"wrote {', '.join(sorted(str(path) for path in save_dir.glob('*') if path.is_file()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
