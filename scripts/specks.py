"""Counts specks: small pieces of a prediction that are mostly wrong, in the coarse and in the refined map.

    python scripts/specks.py --config configs/scenes/pointrend_semantic_fpn_resnet18.yml --model_path output/iter_400

A speck is a connected piece of one class (pixels touch at sides or corners) of fewer than 64 pixels, of which less than
half has the label's class; ignored pixels are no part of it. It is stray if it lies in the middle of a surface, each of
its pixels more than 6 from another class of the label. The config's model is a PointRendSeg. Prints a Markdown table:
specks and stray specks a val image, mIoU and boundary IoU.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import cv2
import numpy as np
from measuring.networks import load_pointrend
from measuring.tables import score_cells, scores_of
from tqdm import tqdm

from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import SegmentationMetrics
from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg.evaluation import trace_sample

SPECK_PIXELS = 64
EDGE_DISTANCE = 6  # pixels


def count_specks(labels: np.ndarray, truth: np.ndarray, ignore_index: int = 255) -> np.ndarray:
    """Counts the specks of a prediction [H, W], by its label [H, W]: integers [2], all and the stray ones."""
    known, counts, near_edge = truth != ignore_index, np.zeros(2, np.int64), _near_edges(truth)
    for label in np.unique(labels):
        pieces, ids = cv2.connectedComponents(((labels == label) & known).astype(np.uint8))
        pixels = np.bincount(ids.ravel(), minlength=pieces)[1:]  # 0 is what belongs to no piece
        right = np.bincount(ids[truth == label], minlength=pieces)[1:]
        specks = (pixels < SPECK_PIXELS) & (2 * right < pixels)
        stray = specks & (np.bincount(ids[near_edge], minlength=pieces)[1:] == 0)
        counts += specks.sum(), stray.sum()
    return counts


def _near_edges(truth):
    """bool [H, W]: the pixels at most EDGE_DISTANCE from one of another class."""
    edges = np.zeros(truth.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = truth[one] != truth[other]
        edges[one] |= differ
        edges[other] |= differ
    distances = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distances < EDGE_DISTANCE  # a pixel at an edge is one from the other class


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    args = parser.parse_args(argv)
    specks = {name: np.zeros(2, np.int64) for name in ("coarse", "refined")}
    try:
        model, dataset = load_pointrend(args.config, args.model_path, args.opts)
        metrics = {name: SegmentationMetrics(dataset.num_classes, dataset.ignore_index) for name in specks}
        for i in tqdm(range(len(dataset)), unit="image"):
            sample = trace_sample(model, dataset, i)
            for name in specks:
                labels = getattr(sample, name)
                metrics[name].update(labels, sample.truth)
                specks[name] += count_specks(labels, sample.truth, dataset.ignore_index)
    except (UsageError, CheckpointError) as error:
        parser.error(str(error))
    print("| prediction | specks an image | stray | mIoU | boundary IoU |\n|---|---|---|---|---|")
    for name, counts in specks.items():
        cells = [f"{count / len(dataset):.1f}" for count in counts]
        print(f"| {name} | {' | '.join(cells)} | {score_cells(scores_of(metrics[name]))} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
