"""Compares trained weights, exported, on every runtime with eager Paddle: logits, labels and scores on a val set.

    python scripts/compare_runtimes.py --config configs/camvid/pointrend_semantic_fpn_resnet18_stride8.yml \
        --model_path output/camvid/stride8/iter_600/model.pdparams

Runs every image of the config's val_dataset through eager Paddle and through the exported network, refined and coarse
alone, on each runtime that is installed (openvino-bf16: in bfloat16), and writes a table and a JSON file.

With --calibration FOLDER, images of the training set, in int8 too: "-int8" as `export --precision int8` does it,
"-int8-all" with no layer of the coarse network but the classifiers left in float32.
"""

import argparse
import os
import pathlib
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import numpy as np
import paddle
from benchmarking.networks import REDUCED, RUNTIMES, load_entry
from measuring.exports import export_coarse
from measuring.networks import load_pointrend
from measuring.reports import write_report
from measuring.tables import score_cells, scores_of
from tqdm import tqdm

from paddle_pointrend import PointRendSeg
from paddle_pointrend.cli.export import calibration_inputs
from paddle_pointrend.deploy.export import export_model
from paddle_pointrend.deploy.quantization import quantize_export
from paddle_pointrend.deploy.runtimes import Runtime, has_bfloat16, installed_runtimes, load_runtime
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg import load_config

PARTS = ("coarse", "refined")
INT8 = {"-int8": True, "-int8-all": False}  # the end of an entry's name -> whether sensitive layers stay in float32
INT8_RUNTIMES = {name + end: (name, end) for name in ("onnxruntime", "openvino") for end in INT8}


def _runs_here(name):
    return name.removesuffix(REDUCED) in installed_runtimes() and (not name.endswith(REDUCED) or has_bfloat16())


def load_all(
    model: PointRendSeg, names: Iterable[str], folder: pathlib.Path, calibration: Sequence[np.ndarray] = ()
) -> dict[tuple[str, str], Runtime]:
    """Exports the network to `folder` in what the runtimes read: (entry, part) -> the runtime.

    calibration: inputs of the network, for entries in int8.
    """
    for file_format in {RUNTIMES[INT8_RUNTIMES[name][0] if name in INT8_RUNTIMES else name] for name in names}:
        export_coarse(model, folder / f"coarse-{file_format}", format=file_format)
        export_model(model, folder / f"refined-{file_format}", format=file_format)
    for end in {INT8_RUNTIMES[name][1] for name in names if name in INT8_RUNTIMES}:
        for part in PARTS:
            (folder / f"{part}{end}").mkdir()
            done = quantize_export(folder / f"{part}-onnx", folder / f"{part}{end}", calibration, sensitivity=INT8[end])
            print(f"{part}{end}: {done}")
    return {(name, part): _load(name, part, folder) for name in names for part in PARTS}


def _load(name, part, folder):
    if name in INT8_RUNTIMES:
        runtime, end = INT8_RUNTIMES[name]
        return load_runtime(runtime, folder / f"{part}{end}")
    return load_entry(name, folder / f"{part}-{RUNTIMES[name]}")


def compare(model: PointRendSeg, runtimes: Mapping[tuple[str, str], Runtime], dataset: Any) -> list[dict[str, Any]]:
    """Makes a record for each part in eager Paddle, and for each runtime and part.

    What differs from eager, the largest difference of logits and the pixels of another label, and the scores. Of
    runtimes the time too: "seconds" of an image and "time", as many times the first runtime's refined network, medians
    over the images, each of which goes through all networks one after the other.
    """
    keys = [*(("paddle", part) for part in PARTS), *runtimes]
    records = {key: {"max_difference": 0.0, "different": 0, "pixels": 0} for key in keys}
    metrics = {key: SegmentationMetrics(dataset.num_classes) for key in keys}
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runtimes}
    for i in tqdm(range(len(dataset)), unit="image"):
        data = dataset[i]
        images, label = data["img"][None].astype("float32"), data["label"].squeeze()
        with paddle.no_grad():
            expected = dict(zip(PARTS, (logits.numpy() for logits in model.predict_both(paddle.to_tensor(images)))))
        expected_labels = {part: logits.argmax(axis=1) for part, logits in expected.items()}
        for (name, part), record in records.items():
            labels = expected_labels[part]
            if name != "paddle":
                start = time.perf_counter()
                logits = runtimes[name, part](images)
                seconds[name, part].append(time.perf_counter() - start)
                labels = logits.argmax(axis=1)
                record["max_difference"] = max(record["max_difference"], float(np.abs(logits - expected[part]).max()))
                record["different"] += int((labels != expected_labels[part]).sum())
            record["pixels"] += labels.size
            metrics[name, part].update(labels[0], label)
    first = next(key for key in runtimes if key[1] == "refined")
    times = {
        key: {"seconds": float(np.median(of_key)), "time": float(np.median(np.divide(of_key, seconds[first])))}
        for key, of_key in seconds.items()
    }
    return [
        {"runtime": name, "part": part, **record, **scores_of(metrics[name, part]), **times.get((name, part), {})}
        for (name, part), record in records.items()
    ]


def table(records: list[dict[str, Any]]) -> str:
    """Writes the records as Markdown."""
    titles = "runtime | network | largest difference of logits | pixels of another label | mIoU | boundary IoU | time"
    lines = [f"| {titles} |", "|---|---|---|---|---|---|---|"]
    for record in records:
        share = f"{record['different']} of {record['pixels']} ({record['different'] / record['pixels']:.1e})"
        differences = f"{record['max_difference']:.1e} | {share}" if record["runtime"] != "paddle" else "- | -"
        lines.append(
            f"| {record['runtime']} | {record['part']} | {differences} | {score_cells(record)} | {_time(record)} |"
        )
    return "\n".join(lines)


def _time(record):
    return f"{record['time']:.2f} ({record['seconds']:.3f} s)" if "time" in record else "-"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    entries = [*RUNTIMES, *INT8_RUNTIMES]
    parser.add_argument("--runtimes", nargs="+", choices=entries, default=None, help="default: those that run here")
    parser.add_argument("--calibration", help="images for int8, as of export")
    parser.add_argument("--save_dir", type=pathlib.Path, default=pathlib.Path("output/compare_runtimes"))
    args = parser.parse_args(argv)
    names = args.runtimes or [name for name in RUNTIMES if _runs_here(name)]
    if args.calibration and not args.runtimes:
        names += [entry for entry, (name, _) in INT8_RUNTIMES.items() if _runs_here(name)]
    if not args.calibration and any(name in INT8_RUNTIMES for name in names):
        parser.error("entries in int8 need --calibration")
    args.save_dir.mkdir(parents=True, exist_ok=True)
    try:
        model, dataset = load_pointrend(args.config, args.model_path, args.opts)
    except (UsageError, CheckpointError) as error:
        parser.error(str(error))
    config = load_config(args.config, opts=args.opts)
    with tempfile.TemporaryDirectory() as folder:
        calibration = calibration_inputs(args.calibration, config) if args.calibration else ()
        records = compare(model, load_all(model, names, pathlib.Path(folder), calibration), dataset)
    write_report(args.save_dir, "compare_runtimes", records, table(records))


if __name__ == "__main__":
    main()
