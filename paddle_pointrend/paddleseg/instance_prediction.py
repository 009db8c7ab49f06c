"""From an image's pixels to its instances in those pixels."""

from __future__ import annotations

import os

import numpy as np
import paddle
from paddle import nn
from paddleseg.cvlibs import Config

from paddle_pointrend.data.found_instances import Instances
from paddle_pointrend.data.instances import CocoInstances, pad_images
from paddle_pointrend.errors import UsageError


@paddle.no_grad()
def predict_instances(model: nn.Layer, dataset: CocoInstances, pixels: np.ndarray) -> Instances:
    """Finds the instances of one image.

    Args:
        model: in eval mode: (images [1, 3, H, W], sizes [1, 2]) -> [Detections].
        dataset: says how images are resized and normalised.
        pixels: uint8 [H, W, 3] in RGB.
    """
    images, sizes = pad_images([dataset.network_image(pixels)])
    (found,) = model(paddle.to_tensor(images), sizes)
    probabilities = {"prediction": found.masks}
    if refines(model):
        probabilities = {"coarse": found.coarse_masks, "refined": found.masks}
    return Instances.resized(
        found.boxes.numpy(),
        found.scores.numpy(),
        found.classes.numpy(),
        {name: masks.numpy() for name, masks in probabilities.items()},
        sizes[0],
        pixels.shape[:2],
    )


def instance_classes(config: Config, dataset: CocoInstances) -> tuple[list[str], list[int]]:
    """Finds the names of a network's classes, and the category ids that results have.

    They are the data set's where its annotations are there, else the config's `class_names` and `category_ids`, else
    "class i" and i from 1.

    Raises:
        UsageError: the config's or the annotations' are not as many as the model's classes.
    """
    num_classes = config.dic["model"].get("num_classes")
    names, ids = config.dic.get("class_names"), config.dic.get("category_ids")
    if os.path.isfile(dataset.annotations):
        names, ids = dataset.coco.class_names, dataset.coco.category_ids
    names = names or [f"class {i}" for i in range(num_classes)]
    ids = ids or list(range(1, num_classes + 1))
    for what, found in (("class_names", names), ("category_ids", ids)):
        if len(found) != num_classes:
            raise UsageError(f"there are {len(found)} {what}, the model has {num_classes} classes")
    return list(names), list(ids)


def refines(model: nn.Layer) -> bool:
    """Tells whether a network's masks are PointRend's, so that there are coarse and refined ones."""
    return hasattr(getattr(model, "mask_head", None), "point_head")
