"""The report of a run with instances: a data set measured, the images that tell most, one HTML file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from paddle_pointrend.data.coco import CocoImage, read_coco_image, true_instances
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.evaluation.instance_pictures import instance_labels
from paddle_pointrend.evaluation.instance_report import InstanceImage, write_instance_report
from paddle_pointrend.evaluation.instance_scores import image_score
from paddle_pointrend.paddleseg.curves import read_curves
from paddle_pointrend.paddleseg.instance_evaluation import evaluate_instances
from paddle_pointrend.paddleseg.instance_prediction import predict_instances
from paddle_pointrend.paddleseg.reporting import PAGE, chosen_images, score_note

SHOWN_SCORE = 0.5  # of this score on an instance is drawn, and counts for the choice of images


@dataclasses.dataclass
class InstanceMeasures:
    """What `measure_instances` found: summaries of `evaluate_instances`, image_scores [images, predictions]."""

    summaries: dict[str, dict]
    image_scores: np.ndarray


def measure_instances(model: nn.Layer, dataset: CocoInstances) -> InstanceMeasures:
    """Measures a network as `evaluate_instances` does, and keeps what a report shows. In one process."""
    truths: dict[int, list[dict[str, Any]]] = {image.id: [] for image in dataset.coco.images}
    for item in dataset.coco.as_dict()["annotations"]:
        truths[item["image_id"]].append(item)
    scores: list[list[float]] = []

    def keep(image: CocoImage, found: dict[str, list[dict[str, Any]]]) -> None:
        shown = ([item for item in results if item["score"] >= SHOWN_SCORE] for results in found.values())
        scores.append([image_score(truths[image.id], results) for results in shown])

    summaries = evaluate_instances(model, dataset, on_image=keep)
    return InstanceMeasures(summaries, np.array(scores))


def write_instances_report(
    folder: str | os.PathLike,
    model: nn.Layer,
    dataset: CocoInstances,
    measures: InstanceMeasures,
    *,
    title: str,
    metadata: Mapping[str, object],
    log_dir: str | os.PathLike,
    num_images: int = 4,
) -> list[str]:
    """Writes report.html.

    Args:
        folder: where to write; it exists.
        model, dataset: that were measured. measures: of `measure_instances`.
        title, metadata: as of `write_instance_report`.
        log_dir: the training's --save_dir, whose curves are shown if it has any.
        num_images: images shown of those whose masks gain (have the highest scores), and as many of those that lose.

    Returns:
        The names of the files.

    Raises:
        UsageError: a file that cannot be read.
    """
    chosen = chosen_images(measures.image_scores, num_images)
    write_instance_report(
        Path(folder, PAGE),
        title=title,
        metadata=metadata,
        images=[_shown(model, dataset, dataset.coco.images[i], measures.image_scores[i]) for i in chosen],
        summaries=measures.summaries,
        class_names=dataset.coco.class_names,
        curves=read_curves(log_dir, refines=len(measures.summaries) == 2),
    )
    return [PAGE]


def _shown(model, dataset, image, scores):
    """Predicts an image again, and puts together what the report shows of it."""
    pixels = read_coco_image(image)
    found = predict_instances(model, dataset, pixels)
    count = int((found.scores >= SHOWN_SCORE).sum())  # best first
    boxes, masks = true_instances(image)
    return InstanceImage(
        name=image.file_name,
        image=pixels,
        true_boxes=boxes,
        true_masks=masks,
        boxes=found.boxes[:count],
        labels=instance_labels(found.classes[:count], found.scores, dataset.coco.class_names),
        masks={name: found.masks(name, slice(count)) for name in found.probabilities},
        note=f"{len(boxes)} objects, {count} detections. {score_note('Mean boundary IoU of the objects', scores)}",
    )
