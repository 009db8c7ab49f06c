"""Trains point heads, each in another way, on the stored maps of one frozen network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import paddle
from paddleseg.datasets import Dataset
from tqdm import tqdm

from paddle_pointrend import PointHead, PointRendSeg, PointSampledCrossEntropyLoss, sample_training_points
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.paddleseg.datasets import read_sample

NUM_POINTS = 2048
BATCH_SIZE = 4


class StoredImage(NamedTuple):
    """What the frozen network makes of an image: coarse logits [1, K, h, w], fine features, and its label [H, W]."""

    coarse: paddle.Tensor
    fine: list[paddle.Tensor]
    truth: np.ndarray


@dataclasses.dataclass(frozen=True)
class Training:
    """How a point head is trained.

    select: coarse logits [N, K, h, w] -> points [N, P, 2] of a step.
    uses_fine, uses_coarse: what the head reads, in training and afterwards; the rest is put to zero.
    """

    select: Callable[[paddle.Tensor], paddle.Tensor]
    uses_fine: bool = True
    uses_coarse: bool = True


def regular_grid(coarse: paddle.Tensor) -> paddle.Tensor:
    """Places at most NUM_POINTS points on a regular grid."""
    side = math.isqrt(NUM_POINTS)
    places = (paddle.arange(side, dtype="float32") + 0.5) / side
    rows, columns = paddle.meshgrid(places, places)
    points = paddle.stack([columns.flatten(), rows.flatten()], axis=1)
    return points.unsqueeze(0).expand([coarse.shape[0], -1, -1])


def biased(oversample_ratio: float, importance_sample_ratio: float) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """Makes the paper's selection for k and beta; beta 0 is uniform."""
    return lambda coarse: sample_training_points(coarse, NUM_POINTS, oversample_ratio, importance_sample_ratio)


MILDLY_BIASED = "mildly biased (k 3, beta 0.75)"
TRAININGS = {
    "regular grid": Training(regular_grid),
    "uniform (k 1, beta 0)": Training(biased(1, 0)),
    MILDLY_BIASED: Training(biased(3, 0.75)),
    "heavily biased (k 10, beta 1)": Training(biased(10, 1)),
    "fine features alone": Training(biased(3, 0.75), uses_coarse=False),
    "coarse logits alone": Training(biased(3, 0.75), uses_fine=False),
}


def store(model: PointRendSeg, dataset: Dataset, indices: Sequence[int]) -> list[StoredImage]:
    """Runs the frozen network once on each image."""
    stored = []
    for i in tqdm(indices, "storing maps", unit="image"):
        _, coarse, fine = model.segment(paddle.to_tensor(read_sample(dataset, i)["img"]).unsqueeze(0))
        stored.append(StoredImage(coarse, fine, read_label(dataset.file_list[i][1])))
    return stored


def train_head(model: PointRendSeg, images: Sequence[StoredImage], training: Training, iters: int, seed: int) -> None:
    """Gives the model a fresh point head and trains it: AdamW, 0.001 falling to 0, BATCH_SIZE images a step."""
    paddle.seed(seed)
    chance = np.random.default_rng(seed)
    old = model.point_head
    model.point_head = PointHead(old.in_channels, old.num_classes, hidden_channels=old.layers[0].weight.shape[0])
    schedule = paddle.optimizer.lr.PolynomialDecay(0.001, iters, end_lr=0, power=0.9)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=model.point_head.parameters(), weight_decay=0.01)
    loss_on_points = PointSampledCrossEntropyLoss()
    for _ in range(iters):
        batch = [images[i] for i in chance.choice(len(images), min(BATCH_SIZE, len(images)), replace=False)]
        coarse = paddle.concat([image.coarse for image in batch])
        fine = [paddle.concat(maps) for maps in zip(*(image.fine for image in batch))]
        points = training.select(coarse)
        logits = model.predict_points(*read_maps(training, coarse, fine), points)
        loss = loss_on_points((logits, points), paddle.to_tensor(np.stack([image.truth for image in batch])))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()


def read_maps(
    training: Training, coarse: paddle.Tensor, fine: list[paddle.Tensor]
) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
    """Puts the maps that a head does not read to zero."""
    if not training.uses_fine:
        fine = [paddle.zeros_like(features) for features in fine]
    return (coarse if training.uses_coarse else paddle.zeros_like(coarse)), fine
