"""All measures of a dataset in one object: mIoU, mAcc, pixel accuracy and boundary IoU.

Everything is kept as int64 counts until the last moment, so that a dataset can be measured image by image, by several
processes, in any order, with the same result to the last bit.

Shapes: H, W image size; K number of classes.
"""

import numpy as np

from paddle_pointrend.evaluation.boundary import unchecked_boundary_areas
from paddle_pointrend.evaluation.confusion import (
    class_accuracy,
    class_iou,
    confusion_matrix,
    mean_accuracy,
    mean_iou,
    nan_mean,
    nan_ratio,
    pixel_accuracy,
)


class SegmentationMetrics:
    """All measures of a dataset, image by image; what several processes counted can be added up.

    `summary()` gives numbers in [0, 1]; see `mean_iou` for what the means run over.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, dilation_ratio: float = 0.02) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.dilation_ratio = dilation_ratio
        self._counts = {
            "confusion": np.zeros((num_classes, num_classes), np.int64),
            "boundary_intersection": np.zeros(num_classes, np.int64),
            "boundary_union": np.zeros(num_classes, np.int64),
        }

    def update(self, pred: np.ndarray, label: np.ndarray) -> None:
        """Counts one image: integers [H, W] each. Raises as `confusion_matrix` does, and then counts nothing."""
        confusion = confusion_matrix(pred, label, self.num_classes, self.ignore_index)
        intersection, union = unchecked_boundary_areas(
            np.asarray(pred), np.asarray(label), self.num_classes, self.ignore_index, self.dilation_ratio
        )
        self._counts["confusion"] += confusion
        self._counts["boundary_intersection"] += intersection
        self._counts["boundary_union"] += union

    def merge(self, other: "SegmentationMetrics") -> None:
        """Adds what `other` has counted; both must have been made with the same settings."""
        for name in ("num_classes", "ignore_index", "dilation_ratio"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"cannot merge metrics: {name} is {mine} here and {theirs} there")
        for name, count in other.state().items():
            self._counts[name] += count

    def state(self) -> dict[str, np.ndarray]:
        """Returns the counts, int64 arrays (copies). States of several processes may be summed key by key."""
        return {name: count.copy() for name, count in self._counts.items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Replaces the counts by `state` (see `state`). Raises ValueError if a key is missing or a shape differs."""
        expected = {name: count.shape for name, count in self._counts.items()}
        found = {name: np.shape(count) for name, count in state.items()}
        if found != expected:
            raise ValueError(f"state has {found}, expected {expected}: was it made with another num_classes?")
        self._counts = {name: np.array(count, np.int64) for name, count in state.items()}

    def summary(self) -> dict[str, float | list[float | None] | None]:
        """Computes the measures, ready for JSON: floats in [0, 1], None where there is nothing to measure.

        Returns:
            dict with "miou", "macc", "acc" (pixel accuracy), "boundary_iou", and the lists of length K "class_iou",
            "class_acc", "class_boundary_iou".
        """
        confusion = self._counts["confusion"]
        boundary = nan_ratio(self._counts["boundary_intersection"], self._counts["boundary_union"])
        return {
            "miou": _or_none(mean_iou(confusion)),
            "macc": _or_none(mean_accuracy(confusion)),
            "acc": _or_none(pixel_accuracy(confusion)),
            "boundary_iou": _or_none(nan_mean(boundary)),
            "class_iou": [_or_none(value) for value in class_iou(confusion)],
            "class_acc": [_or_none(value) for value in class_accuracy(confusion)],
            "class_boundary_iou": [_or_none(value) for value in boundary],
        }

    def pooled_boundary_iou(self) -> float:
        """Computes boundary IoU with the boundaries of all classes counted together: in [0, 1], NaN without any.

        For single images: there a mean over the classes is decided by the rarest.
        """
        return float(nan_ratio(self._counts["boundary_intersection"].sum(), self._counts["boundary_union"].sum()))


def _or_none(value):
    return None if np.isnan(value) else float(value)
