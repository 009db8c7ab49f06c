"""Which boxes learn which object: matching by IoU, and the balanced sample that the losses read.

M: objects of an image, N: boxes. Random numbers are paddle.randperm's.

Source: detectron2/modeling/matcher.py, sampling.py, roi_heads/roi_heads.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle

from paddle_pointrend.models.instance.boxes import pairwise_iou
from paddle_pointrend.models.instance.structures import Targets

IGNORED = -1


def match_boxes(
    iou: paddle.Tensor, thresholds: Sequence[float], labels: Sequence[int], *, low_quality_matches: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the object that each box overlaps most, and whether that is enough.

    Args:
        iou: [M, N], objects by boxes.
        thresholds: ascending.
        labels: what a best IoU below the first threshold, between two, and from the last on means: 1 object, 0
            background, -1 neither. Without objects all get the first.
        low_quality_matches: an object's best boxes, ties too, learn an object however little they overlap it.

    Returns:
        matches: int64 [N], in [0, M); 0 without objects.
        box_labels: int64 [N], of `labels`.
    """
    num_objects, num_boxes = iou.shape
    if not num_objects or not num_boxes:
        return np.zeros(num_boxes, np.int64), np.full(num_boxes, labels[0], np.int64)
    best = iou.max(axis=0)
    box_labels = np.asarray(labels)[np.digitize(best.numpy(), np.asarray(thresholds, best.numpy().dtype))]
    if low_quality_matches:
        is_best = (iou == iou.max(axis=1, keepdim=True)).any(axis=0)
        box_labels = np.where(is_best.numpy(), 1, box_labels)
    return iou.argmax(axis=0).numpy(), box_labels


def sample_labels(
    labels: np.ndarray, num_samples: int, positive_fraction: float, background: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws boxes to train on.

    Args:
        labels: int64 [N]; -1 is ignored, `background` negative, everything else positive.
        num_samples: of both kinds together, or fewer where there are not enough.
        positive_fraction: positives are at most this part; where there are fewer, negatives take their place.
        background: the label of negatives.

    Returns:
        positives, negatives: int64, places in `labels`, in random order.
    """
    positives = np.flatnonzero((labels != IGNORED) & (labels != background))
    negatives = np.flatnonzero(labels == background)
    num_positives = min(len(positives), int(num_samples * positive_fraction))
    num_negatives = min(len(negatives), num_samples - num_positives)
    return _draw(positives, num_positives), _draw(negatives, num_negatives)


def _draw(places, count):
    return places[paddle.randperm(len(places)).numpy()[:count]]


class SampledBoxes(NamedTuple):
    """Boxes of one image to train the heads on, those of objects first. S: boxes.

    boxes: [S, 4].
    classes: int64 [S]; the number of classes stands for background.
    matches: int64 [S], the object of each; 0 where there are no objects.
    """

    boxes: paddle.Tensor
    classes: np.ndarray
    matches: np.ndarray


@paddle.no_grad()
def sample_proposals(
    proposals: paddle.Tensor, targets: Targets, num_classes: int, num_samples: int, positive_fraction: float, iou: float
) -> SampledBoxes:
    """Draws the boxes of one image that the heads learn from; the objects' own boxes are among the candidates.

    Args:
        proposals: [N, 4].
        targets: tensors, boxes with an area.
        num_classes: K.
        num_samples, positive_fraction: see sample_labels.
        iou: from this IoU on a box shows an object.
    """
    candidates = paddle.concat([proposals, targets.boxes])
    matches, labels = match_boxes(pairwise_iou(targets.boxes, candidates), [iou], [0, 1])
    classes = np.full(len(labels), num_classes, np.int64)
    if targets.boxes.shape[0]:
        classes = np.where(labels == 1, targets.classes.numpy()[matches], classes)
    chosen = np.concatenate(sample_labels(classes, num_samples, positive_fraction, num_classes))
    return SampledBoxes(paddle.gather(candidates, paddle.to_tensor(chosen)), classes[chosen], matches[chosen])
