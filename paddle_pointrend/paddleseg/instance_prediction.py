"""From an image's pixels to its instances in those pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddleseg.cvlibs import Config

from paddle_pointrend.data.instances import CocoInstances, pad_images
from paddle_pointrend.data.masks import encode_mask
from paddle_pointrend.errors import UsageError
from paddle_pointrend.models.instance.paste import paste_masks


@dataclass(frozen=True)
class Instances:
    """The instances of an image, best first, in its own pixels.

    Attributes:
        boxes: float32 [D, 4], x1 y1 x2 y2, inside the image, none without an area.
        scores: float32 [D], in [0, 1].
        classes: int64 [D].
        probabilities: prediction's name -> float32 [D, S, S], probabilities over the box: "coarse" and "refined" of a
            network with PointRend, "prediction" of any other.
        size: (height, width) of the image.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    probabilities: dict[str, np.ndarray]
    size: tuple[int, int]

    def masks(self, name: str | None = None, which: slice = slice(None)) -> np.ndarray:
        """Pastes masks into the image: bool [D, height, width].

        Args:
            name: of `probabilities`, None for the best.
            which: of the instances; all of a large image's fill the memory.
        """
        chosen = self.probabilities[name or list(self.probabilities)[-1]]
        return paste_masks(chosen[which], self.boxes[which], self.size)

    def as_coco(self, image_id: int, category_ids: Sequence[int], name: str | None = None) -> list[dict[str, Any]]:
        """Writes the instances as COCO's results: image_id, category_id, bbox, score, segmentation (run lengths)."""
        results = []
        for i, (box, score, class_id) in enumerate(zip(self.boxes, self.scores, self.classes)):
            x1, y1, x2, y2 = (float(side) for side in box)
            results.append(
                {
                    "image_id": image_id,
                    "category_id": category_ids[class_id],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(score),
                    "segmentation": encode_mask(self.masks(name, slice(i, i + 1))[0]),
                }
            )
        return results


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
    height, width = pixels.shape[:2]
    (network_height, network_width) = sizes[0]
    scale = np.array([width / network_width, height / network_height] * 2, np.float32)
    boxes = np.clip(found.boxes.numpy().reshape(-1, 4) * scale, 0, np.array([width, height] * 2, np.float32))
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    probabilities = {"prediction": found.masks}
    if refines(model):
        probabilities = {"coarse": found.coarse_masks, "refined": found.masks}
    return Instances(
        boxes[kept],
        found.scores.numpy()[kept],
        found.classes.numpy()[kept],
        {name: masks.numpy()[kept] for name, masks in probabilities.items()},
        (height, width),
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
