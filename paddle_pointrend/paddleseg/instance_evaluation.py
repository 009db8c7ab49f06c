"""Measures a network of instances on a data set: AP of boxes, masks and boundaries, coarse and refined."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from paddle import nn
from tqdm import tqdm

from paddle_pointrend.data.coco import CocoImage, read_coco_image
from paddle_pointrend.data.found_instances import Instances
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.evaluation.instances import InstanceMetrics
from paddle_pointrend.paddleseg.distributed import gather, rank_and_size
from paddle_pointrend.paddleseg.instance_prediction import predict_instances

OnImage = Callable[[CocoImage, dict[str, list[dict[str, Any]]]], None]


def evaluate_instances(
    model: nn.Layer,
    dataset: CocoInstances,
    *,
    progress: bool = True,
    on_image: OnImage | None = None,
) -> dict[str, dict]:
    """Measures a network, in eval mode, on a data set: `evaluate_found` of what it finds."""
    find = functools.partial(predict_instances, model, dataset)
    return evaluate_found(find, dataset, progress=progress, on_image=on_image)


def evaluate_found(
    find: Callable[[np.ndarray], Instances],
    dataset: CocoInstances,
    *,
    progress: bool = True,
    on_image: OnImage | None = None,
) -> dict[str, dict]:
    """Measures every prediction of a network on a data set, in one forward pass an image.

    Under PaddlePaddle's launcher each process takes a share of the images and all get the same result.

    Args:
        find: an image, uint8 [H, W, 3] in RGB, to what the network finds in it.
        dataset: the images and what is in them.
        progress: whether to show a progress bar, in the first process.
        on_image: is told each image that this process measures, and COCO's results of each prediction, best first.

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
        instances = find(read_coco_image(image))
        results = {
            name: instances.as_coco(image.id, dataset.coco.category_ids, name) for name in instances.probabilities
        }
        for name, of_image in results.items():
            found.setdefault(name, []).extend(of_image)
        if on_image is not None:
            on_image(image, results)
    shares = gather(found)
    names = max(shares, key=len)  # a process without images has none
    found = {name: [result for share in shares for result in share.get(name, [])] for name in names}
    summaries: dict[str, dict] = {}
    for name, of_all in found.items():
        if not summaries:
            boxes = metrics.summary(of_all, ["box"])
        summaries[name] = {**boxes, **metrics.summary(of_all, ["mask", "boundary"])}
    return summaries
