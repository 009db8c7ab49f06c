"""Measures a network of instances on a data set: AP of boxes, masks and boundaries, coarse and refined."""

from __future__ import annotations

from typing import Any

from paddle import nn
from tqdm import tqdm

from paddle_pointrend.data.coco import read_coco_image
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.evaluation.instances import InstanceMetrics
from paddle_pointrend.paddleseg.distributed import gather, rank_and_size
from paddle_pointrend.paddleseg.instance_prediction import predict_instances


def evaluate_instances(model: nn.Layer, dataset: CocoInstances, *, progress: bool = True) -> dict[str, dict]:
    """Measures every prediction of a network on a data set, in one forward pass an image.

    Under PaddlePaddle's launcher each process takes a share of the images and all get the same result.

    Args:
        model: in eval mode.
        dataset: the images and what is in them.
        progress: whether to show a progress bar, in the first process.

    Returns:
        "coarse" and "refined" of a network with PointRend, "prediction" of any other -> what
        `InstanceMetrics.summary` returns. Boxes are the same for both; they are measured once, and shown for both.

    Raises:
        UsageError: an image or a mask that cannot be read.
    """
    metrics = InstanceMetrics(dataset.coco.as_dict())  # a wrong mask is found before the work
    rank, size = rank_and_size()
    found: dict[str, list[dict[str, Any]]] = {}
    for image in tqdm(dataset.coco.images[rank::size], "evaluating", unit="image", disable=not progress or rank > 0):
        instances = predict_instances(model, dataset, read_coco_image(image))
        for name in instances.probabilities:
            found.setdefault(name, []).extend(instances.as_coco(image.id, dataset.coco.category_ids, name))
    shares = gather(found)
    names = max(shares, key=len)  # a process without images has none
    found = {name: [result for share in shares for result in share.get(name, [])] for name in names}
    summaries: dict[str, dict] = {}
    for name, results in found.items():
        if not summaries:
            boxes = metrics.summary(results, ["box"])
        summaries[name] = {**boxes, **metrics.summary(results, ["mask", "boundary"])}
    return summaries
