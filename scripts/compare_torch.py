"""Compares our networks with the torch references, stage by stage and step by step, on the same random weights.

    pip install -e .[torch,test] -c constraints.txt
    python scripts/compare_torch.py --reference mmseg
    pip install fvcore iopath   # of detectron2, which itself need not be installed
    python scripts/compare_torch.py --reference detectron2 --detectron2 path/to/a/checkout

Evaluation: every stage, the logits, the classes. Training: both losses, the gradient of every parameter, the running
statistics, and a trajectory of SGD steps of the recipe across the end of its warm-up. Then each side's preprocessing of
a raw image, and the choice of training points from given random numbers. Prints a table, writes a JSON file and
a picture into --output, and ends with exit code 1 if a bound is broken. About 5 minutes on one core.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

from torch_parity.comparisons import (
    compare_evaluation,
    compare_preprocessing,
    compare_sampling,
    compare_training,
    compare_trajectory,
)
from torch_parity.pairs import Pair, build_pair
from torch_parity.report import BOUNDS, broken_bounds, draw, evaluation_table, training_summary, worst_figures

from paddle_pointrend.files import check_writable, write_json

EVALUATED = ((1, 512, 1024), (1, 333, 517), (2, 512, 1024))
TRAINED = (2, 128, 256)


def run(
    pair: Pair, shapes: Sequence[tuple[int, int, int]], train_shape: tuple[int, int, int], steps: int
) -> dict[str, object]:
    """Compares everything and prints on the way: the whole report."""
    report = {"reference": pair.reference.source, "config": pair.config.name, "bounds": BOUNDS, "evaluation": {}}
    for shape in shapes:
        title = "x".join(map(str, shape))
        print(f"evaluation {title} ...", flush=True)
        report["evaluation"][title] = compare_evaluation(pair, shape)
        print(evaluation_table(report["evaluation"][title]), flush=True)
    print("preprocessing and sampling ...", flush=True)
    report["preprocessing"] = compare_preprocessing(pair)
    report["sampling"] = compare_sampling(pair)
    print(f"one training step, {'x'.join(map(str, train_shape))} ...", flush=True)
    report["training"] = compare_training(pair, train_shape)
    print(f"trajectory of {steps} steps ...", flush=True)
    report["trajectory"] = compare_trajectory(pair, train_shape, steps) if steps else None
    report["figures"] = worst_figures(report)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", choices=("mmseg", "detectron2"), required=True)
    parser.add_argument("--config", type=pathlib.Path, help="our YAML file; default: the ResNet-101 of Cityscapes")
    parser.add_argument("--detectron2", type=pathlib.Path, help="a checkout of detectron2")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="evaluate this size only")
    parser.add_argument("--batch", type=int, default=1, help="images in the batch of --size")
    parser.add_argument("--train_size", type=int, nargs=2, metavar=("H", "W"), default=TRAINED[1:])
    parser.add_argument("--steps", type=int, default=20, help="of the trajectory; 0 leaves it out")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output/parity"))
    args = parser.parse_args(argv)
    if args.reference == "detectron2" and args.detectron2 is None:
        parser.error("--reference detectron2 needs --detectron2 FOLDER, a checkout of its repository")
    args.output.mkdir(parents=True, exist_ok=True)
    files = {kind: args.output / f"{args.reference}.{kind}" for kind in ("json", "png")}
    for file in files.values():
        check_writable(file)
    shapes = [(args.batch, *args.size)] if args.size else EVALUATED
    pair = build_pair(args.reference, args.config, args.detectron2)
    report = run(pair, shapes, (TRAINED[0], *args.train_size), args.steps)
    print(training_summary(report))
    write_json(files["json"], json.loads(json.dumps(report, default=str)))
    draw(report, files["png"])
    print(f"wrote {files['json']} and {files['png']}")
    broken = broken_bounds(report)
    for sentence in broken:
        print(f"BROKEN {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
