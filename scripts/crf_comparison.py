"""Compares PointRend with the fully connected CRF of DeepLab: mIoU, boundary IoU and milliseconds an image.

    python scripts/crf_comparison.py --config configs/camvid/CONFIG.yml --model_path output/iter_600/model.pdparams

One PointRendSeg gives the coarse map, which the CRF sharpens from the image's colours, and the refined map, which the
CRF may sharpen as well. Two CRFs: DenseCRF's defaults, and "best CRF", the one of a grid from hardly any to DeepLab's
with the best boundary IoU on the coarse maps of --tune images of val_dataset, evenly chosen; that it sees images which
are measured favours it. Prints a Markdown table. Times are medians and quartiles over the images, all ways one after
the other on each, from the network's input to probabilities. The config's val transforms keep the images' size.
"""

import argparse
import itertools
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import numpy as np
import paddle
from measuring.arguments import positive_int
from measuring.networks import load_pointrend
from measuring.tables import percent, score_cells, scores_of
from paddleseg.datasets import Dataset
from tqdm import tqdm

from paddle_pointrend import PointRendSeg
from paddle_pointrend.data.images import read_image
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import SegmentationMetrics
from paddle_pointrend.inference import DenseCRF
from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg.datasets import read_sample

GRID = {
    "smoothness_weight": (0, 3),
    "appearance_weight": (0.5, 2, 5),
    "appearance_pixels": (30, 80),
    "appearance_colors": (3, 10),
}


class Image(NamedTuple):
    """The network's input [1, 3, H, W], the image uint8 [H, W, 3] and its label [H, W]."""

    tensor: paddle.Tensor
    pixels: np.ndarray
    truth: np.ndarray


def read(dataset: Dataset, index: int) -> Image:
    """Reads one image of a dataset, checked."""
    tensor = paddle.to_tensor(read_sample(dataset, index)["img"]).unsqueeze(0)
    image_path, label_path = dataset.file_list[index]
    return Image(tensor, read_image(image_path, whole=False), read_label(label_path))


def evenly(length: int, count: int) -> list[int]:
    """Chooses at most so many places of a list, evenly."""
    return np.linspace(0, length - 1, min(count, length)).astype(int).tolist()


def coarse_logits(model: PointRendSeg, image: Image) -> np.ndarray:
    """Predicts coarse logits [K, H, W]."""
    return model.segment(image.tensor)[0][0][0].numpy()


def refined_logits(model: PointRendSeg, image: Image) -> np.ndarray:
    """Predicts refined logits [K, H, W]."""
    return model.predict_logits(image.tensor)[0].numpy()


def best_crf(model: PointRendSeg, dataset: Dataset, count: int) -> DenseCRF:
    """Finds the CRF of the GRID with the best boundary IoU on the coarse maps of so many images of a dataset."""
    images = [read(dataset, i) for i in evenly(len(dataset), count)]
    logits = [coarse_logits(model, image) for image in images]
    scores = {}
    for values in tqdm(list(itertools.product(*GRID.values())), "CRF's parameters", unit="setting"):
        crf = DenseCRF(**dict(zip(GRID, values)))
        metrics = SegmentationMetrics(dataset.num_classes, dataset.ignore_index)
        for image, coarse in zip(images, logits):
            metrics.update(crf.refine(coarse, image.pixels).argmax(axis=0), image.truth)
        scores[crf] = metrics.summary()["boundary_iou"]
    return max(scores, key=scores.get)


def timed(function: Callable, *args: Any) -> tuple[Any, float]:
    """Calls a function; returns what it returns and the milliseconds it took."""
    start = time.perf_counter()
    result = function(*args)
    return result, 1000 * (time.perf_counter() - start)


def compare(model: PointRendSeg, dataset: Dataset, crfs: dict[str, DenseCRF]) -> tuple[dict, dict]:
    """Measures a dataset: (way -> SegmentationMetrics, way -> milliseconds of each image)."""
    metrics, milliseconds = {}, {}
    for i in tqdm(range(len(dataset)), "comparing", unit="image"):
        image = read(dataset, i)
        for name, predict in (("coarse", coarse_logits), ("PointRend", refined_logits)):
            logits, network_time = timed(predict, model, image)
            ways = [(name, logits, network_time)]
            for crf_name, crf in crfs.items():
                sharpened, crf_time = timed(crf.refine, logits, image.pixels)
                ways.append((f"{name}, {crf_name}", sharpened, network_time + crf_time))
            for way, maps, taken in ways:
                metrics.setdefault(way, SegmentationMetrics(dataset.num_classes, dataset.ignore_index))
                metrics[way].update(maps.argmax(axis=0), image.truth)
                milliseconds.setdefault(way, []).append(taken)
    return metrics, milliseconds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--images", type=positive_int, default=10**9, help="of val_dataset, evenly, default: all")
    parser.add_argument("--tune", type=positive_int, default=10, help="images that choose the best CRF, default: 10")
    args = parser.parse_args(argv)
    try:
        model, dataset = load_pointrend(args.config, args.model_path, args.opts)
        dataset.file_list = [dataset.file_list[i] for i in evenly(len(dataset), args.images)]
        with paddle.no_grad():
            crfs = {"CRF": DenseCRF(), "best CRF": best_crf(model, dataset, args.tune)}
            metrics, milliseconds = compare(model, dataset, crfs)
    except (UsageError, CheckpointError, ImportError) as error:
        parser.error(str(error))
    print(f"{pathlib.Path(args.config).stem}, {len(dataset)} images, threads: {os.environ['OMP_NUM_THREADS']}")
    print("\n".join(f"{name}: {crf}" for name, crf in crfs.items()))
    print("\n| way | pixel accuracy | mIoU | boundary IoU | milliseconds an image |\n|---|---|---|---|---|")
    for way, metric in metrics.items():
        accuracy, scores = percent(metric.summary()["acc"]), score_cells(scores_of(metric))
        first, median, third = np.percentile(milliseconds[way], [25, 50, 75])
        print(f"| {way} | {accuracy} | {scores} | {median:.0f} ({first:.0f} to {third:.0f}) |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
