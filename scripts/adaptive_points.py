"""What `refine_threshold` saves and what it costs: quality on a val set against time, for several thresholds.

    python scripts/adaptive_points.py --config configs/camvid/pointrend_semantic_fpn_resnet18_stride8.yml \
        --model_path output/camvid/stride8/iter_600/model.pdparams

Exports the model once for each threshold and once without refinement, runs every image of the config's val_dataset
through all of them, one after the other, and writes a table, a JSON file and a picture. Times are of the whole network
on one runtime; shown are medians over the images, and of the ratios to full refinement on the same image.
"""

import argparse
import os
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import numpy as np
from measuring.exports import export_coarse
from measuring.networks import load_pointrend
from measuring.reports import write_report
from measuring.tables import SCORES, score_cells, scores_of
from measuring.timing import quartiles
from tqdm import tqdm

from paddle_pointrend import PointRendSeg
from paddle_pointrend.deploy.export import export_model
from paddle_pointrend.deploy.runtimes import RUNTIMES, Runtime, load_runtime
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.files import write_whole
from paddle_pointrend.models.weights import CheckpointError

THRESHOLDS = (0.25, 0.5, 1.0, 2.0, 4.0)
FULL, COARSE = "all points", "coarse"


def export_variants(
    model: PointRendSeg, thresholds: Sequence[float], folder: pathlib.Path, file_format: str
) -> dict[str, pathlib.Path]:
    """Exports name -> folder: the coarse network, one for each threshold, and full refinement."""
    folders = {COARSE: folder / "coarse"}
    export_coarse(model, folders[COARSE], format=file_format)
    for threshold in (*thresholds, None):
        name = FULL if threshold is None else f"margin <= {threshold:g}"
        folders[name] = folder / name.replace(" ", "")
        model.refine_threshold = threshold
        export_model(model, folders[name], format=file_format)
    return folders


def measure(
    runtimes: Mapping[str, Runtime], dataset: Any, num_classes: int
) -> tuple[dict[str, SegmentationMetrics], np.ndarray]:
    """Measures (name -> SegmentationMetrics, seconds [images, variants]) of a dataset."""
    metrics = {name: SegmentationMetrics(num_classes) for name in runtimes}
    seconds = np.empty([len(dataset), len(runtimes)])
    for _ in range(3):  # a runtime compiles for a size that comes the third time
        for run in runtimes.values():
            run(dataset[0]["img"][None])
    for i in tqdm(range(len(dataset)), unit="image"):
        data = dataset[i]
        for j, (name, run) in enumerate(runtimes.items()):
            start = time.perf_counter()
            logits = run(data["img"][None])
            seconds[i, j] = time.perf_counter() - start
            metrics[name].update(logits[0].argmax(axis=0), data["label"].squeeze())
    return metrics, seconds


def table(records: list[dict[str, Any]]) -> str:
    """Writes the records as Markdown."""
    lines = ["| refined | mIoU | boundary IoU | ms an image | time / all points |", "|---|---|---|---|---|"]
    for record in records:
        milliseconds = f"{1000 * float(np.median(record['seconds'])):.0f}"
        lines.append(f"| {record['name']} | {score_cells(record)} | {milliseconds} | {quartiles(record['ratios'])} |")
    return "\n".join(lines)


def draw(records: list[dict[str, Any]]) -> bytes:
    """Draws a PNG: both scores against time."""
    import io

    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(9, 4), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2), SCORES.items()):
        ratios = [float(np.median(record["ratios"])) for record in records]
        values = [100 * record[key] for record in records]
        axes.plot(ratios, values, "o-", color="tab:blue")
        for i, (x, y, record) in enumerate(zip(ratios, values, records)):
            below, left = i % 2 == 0, i == len(records) - 2  # the last ones lie close together
            offset = (-60 if left else 5, -10 if below else 5)
            axes.annotate(record["name"], (x, y), textcoords="offset points", xytext=offset, fontsize=7)
        axes.set(xlabel="time / time with all points", ylabel="%", title=title)
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS)
    parser.add_argument(
        "--runtime", choices=[name for name in RUNTIMES if RUNTIMES[name].format], default="onnxruntime"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--save_dir", type=pathlib.Path, default=pathlib.Path("output/adaptive_points"))
    args = parser.parse_args(argv)
    args.save_dir.mkdir(parents=True, exist_ok=True)
    try:
        model, dataset = load_pointrend(args.config, args.model_path, args.opts)
    except (UsageError, CheckpointError) as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        folders = export_variants(model, args.thresholds, pathlib.Path(folder), RUNTIMES[args.runtime].format)
        runtimes = {name: load_runtime(args.runtime, path, num_threads=args.threads) for name, path in folders.items()}
        metrics, seconds = measure(runtimes, dataset, dataset.num_classes)
    records = []
    for i, (name, measured) in enumerate(metrics.items()):
        times = {"seconds": seconds[:, i].tolist(), "ratios": (seconds[:, i] / seconds[:, -1]).tolist()}
        records.append({"name": name, **scores_of(measured), **times})
    write_report(args.save_dir, "adaptive_points", records, table(records))
    write_whole(args.save_dir / "adaptive_points.png", draw(records))
    print(f"wrote adaptive_points.png into {args.save_dir}")


if __name__ == "__main__":
    main()
