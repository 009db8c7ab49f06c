"""Compares trained weights, exported, on every runtime with eager Paddle: logits, labels and scores on a val set.

    python scripts/compare_runtimes.py --config configs/camvid/pointrend_semantic_fpn_resnet18_stride8.yml \
        --model_path output/camvid/stride8/iter_600/model.pdparams

Runs every image of the config's val_dataset through eager Paddle and through the exported network, refined and coarse
alone, on each runtime that is installed (openvino-bf16: in bfloat16), and writes a table and a JSON file.
"""

import argparse
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import numpy as np
import paddle
from benchmarking.networks import REDUCED, RUNTIMES, load_entry
from measuring.exports import export_coarse
from measuring.reports import write_report
from measuring.tables import score_cells, scores_of
from paddleseg.cvlibs import SegBuilder
from tqdm import tqdm

from paddle_pointrend import PointRendSeg
from paddle_pointrend.deploy.export import export_model
from paddle_pointrend.deploy.runtimes import Runtime, has_bfloat16, installed_runtimes
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.paddleseg import build, load_config, load_model

PARTS = ("coarse", "refined")


def _runs_here(name):
    return name.removesuffix(REDUCED) in installed_runtimes() and (not name.endswith(REDUCED) or has_bfloat16())


def load_all(model: PointRendSeg, names: Iterable[str], folder: pathlib.Path) -> dict[tuple[str, str], Runtime]:
    """Exports the network to `folder` in the formats that the runtimes read: (entry, part) -> the runtime."""
    for file_format in {RUNTIMES[name] for name in names}:
        export_coarse(model, folder / f"coarse-{file_format}", format=file_format)
        export_model(model, folder / f"refined-{file_format}", format=file_format)
    return {(name, part): load_entry(name, folder / f"{part}-{RUNTIMES[name]}") for name in names for part in PARTS}


def compare(model: PointRendSeg, runtimes: Mapping[tuple[str, str], Runtime], dataset: Any) -> list[dict[str, Any]]:
    """Makes a record for each part in eager Paddle, and for each runtime and part.

    What differs from eager, the largest difference of logits and the pixels of another label, and the scores.
    """
    keys = [*(("paddle", part) for part in PARTS), *runtimes]
    records = {key: {"max_difference": 0.0, "different": 0, "pixels": 0} for key in keys}
    metrics = {key: SegmentationMetrics(dataset.num_classes) for key in keys}
    for i in tqdm(range(len(dataset)), unit="image"):
        data = dataset[i]
        images, label = data["img"][None].astype("float32"), data["label"].squeeze()
        with paddle.no_grad():
            expected = dict(zip(PARTS, (logits.numpy() for logits in model.predict_both(paddle.to_tensor(images)))))
        expected_labels = {part: logits.argmax(axis=1) for part, logits in expected.items()}
        for (name, part), record in records.items():
            labels = expected_labels[part]
            if name != "paddle":
                logits = runtimes[name, part](images)
                labels = logits.argmax(axis=1)
                record["max_difference"] = max(record["max_difference"], float(np.abs(logits - expected[part]).max()))
                record["different"] += int((labels != expected_labels[part]).sum())
            record["pixels"] += labels.size
            metrics[name, part].update(labels[0], label)
    return [
        {"runtime": name, "part": part, **record, **scores_of(metrics[name, part])}
        for (name, part), record in records.items()
    ]


def table(records: list[dict[str, Any]]) -> str:
    """Writes the records as Markdown."""
    lines = ["| runtime | network | largest difference of logits | pixels of another label | mIoU | boundary IoU |"]
    lines.append("|---|---|---|---|---|---|")
    for record in records:
        share = f"{record['different']} of {record['pixels']} ({record['different'] / record['pixels']:.1e})"
        differences = f"{record['max_difference']:.1e} | {share}" if record["runtime"] != "paddle" else "- | -"
        lines.append(f"| {record['runtime']} | {record['part']} | {differences} | {score_cells(record)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=None, help="default: those that run here")
    parser.add_argument("--save_dir", type=pathlib.Path, default=pathlib.Path("output/compare_runtimes"))
    args = parser.parse_args(argv)
    names = args.runtimes or [name for name in RUNTIMES if _runs_here(name)]
    args.save_dir.mkdir(parents=True, exist_ok=True)
    config = load_config(args.config, opts=args.opts)
    model = load_model(config, args.model_path)
    dataset = build(SegBuilder(config), args.config, "val_dataset")
    with tempfile.TemporaryDirectory() as folder:
        records = compare(model, load_all(model, names, pathlib.Path(folder)), dataset)
    write_report(args.save_dir, "compare_runtimes", records, table(records))


if __name__ == "__main__":
    main()
