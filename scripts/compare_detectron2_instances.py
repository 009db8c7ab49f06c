"""Compares our Mask R-CNN with detectron2's, its own and PointRend's mask head, on the same random weights.

    pip install -e .[torch,test] -c constraints.txt
    pip install --no-deps torchvision==0.28.0 fvcore iopath omegaconf hydra-core yacs tabulate termcolor cloudpickle \
        portalocker antlr4-python3-runtime==4.9.3
    python scripts/compare_detectron2_instances.py --network pointrend_r50 --detectron2 path/to/a/checkout

Evaluation: every stage of both sides beside detectron2's network in float64, then both whole networks on images.
Training: losses and gradients of one step, and steps of SGD, on the same random numbers. Prints tables and writes a
JSON file; ends with exit code 1 if a bound is broken. About 10 minutes on one core; needs gcc and nm, see
torch_parity/torchvision_on_cpu.py.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import numpy as np
from torch_parity.detectron2_instances import CONFIGS, InstanceReference
from torch_parity.instance_stages import InstancePair, compare_results, compare_stages
from torch_parity.instance_training import compare_training, compare_trajectory, random_targets
from torch_parity.instance_weights import enliven
from torch_parity.synthetic_data import smooth_image

from paddle_pointrend.files import check_writable, write_json

BOUNDS = {
    "detections of another class or order": 0,
    "pixels of masks that differ": 1e-4,
    "largest distance from float64 relative to the reference's": 1.5,
    "loss": 1e-5,
    "gradient, median": 1e-5,
    "gradient, worst": 2e-3,
    "loss in trajectory": 1e-3,
}


def images_of(sizes: Sequence[tuple[int, int]], seed: int = 0) -> list[np.ndarray]:
    """Draws images uint8 [H, W, 3] with structure."""
    drawn = [smooth_image((1, *size), seed + i)[0].transpose(1, 2, 0) for i, size in enumerate(sizes)]
    return [np.clip(50 * image + 120, 0, 255).astype(np.uint8) for image in drawn]


def run(folder: str, network: str, seed: int, steps: int) -> dict[str, object]:
    """Compares everything and prints on the way: the whole report."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(seed)
    report = {"network": network, "seed": seed, "bounds": BOUNDS}
    print("evaluation ...", flush=True)
    images = images_of([(256, 320), (240, 312)])
    reference = InstanceReference(folder, network)
    enliven(reference, images[0], seed)
    pair = InstancePair(reference)
    report["tensors"] = len(pair.model.state_dict())
    report["stages"] = compare_stages(pair, images)
    print(stages_table(report["stages"]), flush=True)
    report["results"] = compare_results(pair, images, [(192, 240), (300, 390)])
    print(report["results"], flush=True)
    if steps:
        print(f"training, {steps} steps ...", flush=True)
        images = images_of([(160, 192), (144, 192)])
        reference = InstanceReference(folder, network, ("MODEL.RPN.POST_NMS_TOPK_TEST", 50))
        enliven(reference, images[0], seed, calm=True)
        pair = InstancePair(reference)
        targets = random_targets(images, pair.model.num_classes, seed)
        report["training"] = compare_training(pair, images, targets, seed)
        report["trajectory"] = compare_trajectory(pair, images, targets, steps=steps)
    report["figures"] = figures(report)
    return report


def stages_table(stages: dict[str, dict[str, float]]) -> str:
    """Writes a text, one line a stage."""
    lines = [f"  {'stage':<14} {'ours':>9} {'theirs':>9}  distance from float64"]
    return "\n".join(lines + [f"  {name:<14} {row['ours']:9.1e} {row['theirs']:9.1e}" for name, row in stages.items()])


def figures(report: dict) -> dict[str, float]:
    """Finds what BOUNDS bounds."""
    rows = report["stages"].values()
    found = {
        "detections of another class or order": report["results"]["different"],
        "pixels of masks that differ": report["results"]["pixels"],
        "largest distance from float64 relative to the reference's": max(
            row["ours"] / row["theirs"] for row in rows if row["theirs"] > 1e-9
        ),
    }
    if "training" in report:
        gradients = [row["ours"] for row in report["training"]["gradients"].values()]
        found["loss"] = max(row["relative"] for row in report["training"]["losses"].values())
        found |= {"gradient, median": float(np.median(gradients)), "gradient, worst": max(gradients)}
        found["gradient of the reference on changed images, worst"] = max(
            row["moved"] for row in report["training"]["gradients"].values()
        )
        found["loss in trajectory"] = max(report["trajectory"]["losses"])
        found["movement in trajectory, median"] = float(np.median(list(report["trajectory"]["movements"].values())))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=CONFIGS, default="pointrend_r50")
    parser.add_argument("--detectron2", default=os.environ.get("DETECTRON2"), help="a checkout; default: $DETECTRON2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20, help="of SGD; 0 leaves training out")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output/parity"))
    args = parser.parse_args(argv)
    if args.detectron2 is None:
        parser.error("--detectron2 FOLDER is needed, a checkout of its repository")
    args.output.mkdir(parents=True, exist_ok=True)
    file = args.output / f"detectron2_{args.network}.json"
    check_writable(file)
    report = run(args.detectron2, args.network, args.seed, args.steps)
    write_json(file, report)
    broken = 0
    for name, value in report["figures"].items():
        allowed = BOUNDS.get(name)
        is_broken = allowed is not None and not value <= allowed
        broken += is_broken
        print(
            f"{'BROKEN ' if is_broken else ''}{name}: {value:.2e}"
            + ("" if allowed is None else f" (allowed {allowed:g})")
        )
    print(f"wrote {file}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
