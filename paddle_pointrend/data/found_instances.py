"""Instances that a network found in an image, in the image's own pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddle_pointrend.data.masks import encode_mask
from paddle_pointrend.data.paste import paste_masks


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

    @classmethod
    def resized(
        cls,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        probabilities: Mapping[str, np.ndarray],
        network_size: Sequence[int],
        size: Sequence[int],
    ) -> Instances:
        """Brings what was found in an image of network_size (height, width) to its own size."""
        (network_height, network_width), (height, width) = network_size, size[:2]
        scale = np.array([width / network_width, height / network_height] * 2, np.float32)
        boxes = np.clip(boxes.reshape(-1, 4) * scale, 0, np.array([width, height] * 2, np.float32))
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        masks = {name: masks[kept] for name, masks in probabilities.items()}
        return cls(boxes[kept], scores[kept], classes[kept], masks, (height, width))

    def masks(self, name: str | None = None, which: slice = slice(None)) -> np.ndarray:
        """Pastes masks into the image: bool [D, height, width].

        Args:
            name: of `probabilities`, None for the best.
            which: of the instances; all of a large image's fill the memory.
        """
        chosen = self.probabilities[name or list(self.probabilities)[-1]]
        return paste_masks(chosen[which], self.boxes[which], self.size)

    def masks_one_by_one(self, count: int) -> Sequence[np.ndarray]:
        """The best masks of the first `count` instances, bool [height, width], each pasted when it is read."""
        return _MasksOneByOne(self, count)

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


class _MasksOneByOne(Sequence[np.ndarray]):
    def __init__(self, instances: Instances, count: int) -> None:
        self._instances, self._length = instances, count

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: Any) -> Any:
        return self._instances.masks(which=slice(i, i + 1))[0]
