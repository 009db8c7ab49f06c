"""Repeats the paper's ablations on the point head of a trained network that stays as it is.

    python scripts/ablations.py --config configs/camvid/CONFIG.yml --model_path output/iter_600/model.pdparams

The network runs once on each image; its coarse logits and fine features are kept in memory. Then every row of the first
table trains a fresh point head on them, with each of --seeds, and is measured on val_dataset: how training points are
chosen (the paper's section 3.1), and what the head reads (section 3.2). The second table changes the inference of the
first seed's mildly biased head (without seeds of the model's own): points of each step, number of steps, points in the
last step alone. Writes RESULTS.json and points.png into --save_dir, prints the tables. Images are not augmented.
"""

import argparse
import math
import os
import pathlib
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import matplotlib
import numpy as np
import paddle
from ablating.training import MILDLY_BIASED, TRAININGS, StoredImage, Training, read_maps, store, train_head
from measuring.arguments import positive_int
from measuring.networks import load_pointrend
from measuring.tables import SCORES, percent, scores_of
from paddleseg.cvlibs import SegBuilder
from tqdm import tqdm

from paddle_pointrend import PointRendSeg
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import SegmentationMetrics
from paddle_pointrend.files import write_json
from paddle_pointrend.models.sizes import resize
from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg import build, load_config
from paddle_pointrend.points import Subdivision, choose_execution

matplotlib.use("Agg")
from matplotlib import pyplot as plt

POINTS = (256, 1024, 2048, 4096, 8192, 16384, 10**9)  # of each step; the last is every pixel


@paddle.no_grad()
def measure(
    model: PointRendSeg,
    images: Sequence[StoredImage],
    points_of_steps: Sequence[int],
    training: Training = TRAININGS[MILDLY_BIASED],
    *,
    doubled_before: int = 0,
) -> dict[str, float | None]:
    """Measures refinement: the SCORES of stored images.

    Args:
        model: with the point head to measure.
        images: stored maps.
        points_of_steps: points of each step.
        training: what the head reads.
        doubled_before: how often the coarse map is doubled, without points, before the first step.
    """
    metrics = SegmentationMetrics(model.point_head.num_classes)
    for coarse, fine, truth in images:
        start = resize(coarse, [side * 2**doubled_before for side in coarse.shape[2:]])
        maps = read_maps(training, coarse, fine)
        execution = choose_execution(coarse, *fine, *model.point_head.parameters())
        subdivision = Subdivision(lambda coords, maps=maps: model.predict_points(*maps, coords), execution)
        logits = resize(subdivision.run(start, points_of_steps), truth.shape)
        metrics.update(logits.argmax(axis=1)[0].numpy(), truth)
    return scores_of(metrics)


def train_and_measure(
    model: PointRendSeg, images: dict[str, list[StoredImage]], iters: int, seeds: Sequence[int], steps: int
) -> dict[str, list[dict]]:
    """Fills the first table: row -> the scores with each seed. The model keeps the first seed's mildly biased head."""
    rows, kept = {}, model.point_head
    for name, training in TRAININGS.items():
        rows[name] = []
        for seed in seeds:
            train_head(model, images["train"], training, iters, seed)
            rows[name].append(measure(model, images["val"], [8192] * steps, training))
            print(name, seed, " ".join(percent(rows[name][-1][key]) for key in SCORES), flush=True)
            if name == MILDLY_BIASED and seed == seeds[0]:
                kept = model.point_head
    model.point_head = kept
    return rows


def vary_inference(model: PointRendSeg, images: Sequence[StoredImage], steps: int) -> dict[str, list[dict]]:
    """Fills the second table: row -> a list of one, the scores."""
    rows = {"coarse map, no points": []}
    for points in POINTS:
        rows["every pixel" if points == POINTS[-1] else f"{points} points a step"] = [points] * steps
    for count in range(1, steps):
        rows[f"8192 points a step, {count} of {steps} steps"] = [8192] * count
    measured = {}
    for name, points in tqdm(rows.items(), "inference", unit="row"):
        measured[name] = [measure(model, images, points)]
    for points in (8192, 8192 * steps):
        last = measure(model, images, [points], doubled_before=steps - 1)
        measured[f"{points} points in the last step alone"] = [last]
    return measured


def table(rows: dict[str, list[dict]]) -> str:
    """Writes scores as a Markdown table: every seed's, then their mean."""
    lines = [f"| | {' | '.join(SCORES.values())} |", "|---" * (1 + len(SCORES)) + "|"]
    for name, scores in rows.items():
        cells = []
        for key in SCORES:
            values = [score[key] for score in scores]
            mean = f": **{percent(sum(values) / len(values))}**" if len(values) > 1 else ""
            cells.append(", ".join(map(percent, values)) + mean)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_points(rows: dict[str, list[dict]], file: pathlib.Path) -> None:
    """Draws the scores against the points of each step."""
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for key, title in SCORES.items():
        values = [100 * rows[f"{points} points a step"][0][key] for points in POINTS[:-1]]
        axes.plot(POINTS[:-1], values, marker="o", label=title)
    axes.set(xscale="log", xlabel="points in each step", ylabel="%", xticks=POINTS[:-1])
    axes.set_xticklabels(POINTS[:-1])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="of a PointRendSeg on a `Dataset` with train_path")
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--save_dir", type=pathlib.Path, default=pathlib.Path("output/ablations"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2], help="none: no training")
    parser.add_argument("--iters", type=positive_int, default=300, help="of each training, default: 300")
    parser.add_argument("--train_images", type=positive_int, default=100, help="evenly chosen, default: 100")
    parser.add_argument("--val_images", type=positive_int, default=101, help="evenly chosen, default: 101")
    args = parser.parse_args(argv)
    try:
        model, val_dataset = load_pointrend(args.config, args.model_path)
        datasets, images = {"val": val_dataset}, {}
        if args.seeds:  # its images as val's are read, without augmentation
            opts = [f"val_dataset.val_path={load_config(args.config).dic['train_dataset']['train_path']}"]
            config = load_config(args.config, opts=opts)
            datasets["train"] = build(SegBuilder(config), args.config, "val_dataset")
        for split, dataset in datasets.items():
            count = min(getattr(args, f"{split}_images"), len(dataset))
            with paddle.no_grad():
                images[split] = store(model, dataset, np.linspace(0, len(dataset) - 1, count).astype(int).tolist())
    except (UsageError, CheckpointError) as error:
        parser.error(str(error))
    height = images["val"][0].coarse.shape[2]
    steps = max(1, math.ceil(math.log2(images["val"][0].truth.shape[0] / height)))
    trainings = train_and_measure(model, images, args.iters, args.seeds, steps) if args.seeds else {}
    inference = vary_inference(model, images["val"], steps)
    args.save_dir.mkdir(parents=True, exist_ok=True)
    report = {"config": args.config, "trainings": trainings, "inference": inference}
    write_json(args.save_dir / "RESULTS.json", report)
    draw_points(inference, args.save_dir / "points.png")
    print("\n" + "\n\n".join(table(rows) for rows in (trainings, inference) if rows))
    print(f"\nwrote {args.save_dir}/RESULTS.json and points.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
