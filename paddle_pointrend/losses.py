"""The loss on points. It knows tensors, no model."""

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.points import point_sample

_LABEL_DTYPES = (paddle.uint8, paddle.int8, paddle.int16, paddle.int32, paddle.int64)


class PointSampledCrossEntropyLoss(nn.Layer):
    """Cross-entropy at points against the labels sampled there (nearest), the mean over points not ignored.

    With class weights w it is the weighted mean, sum(w[y] * loss) / sum(w[y]), as torch's cross_entropy.
    Where every point is ignored (or weighs nothing) it is 0 and its gradient is 0.

    Args:
        weight: K class weights >= 0, or None for equal ones.
        ignore_index: the label that is left out.
        avg_non_ignore: False divides by the number of all points, ignored ones too, as mmsegmentation does by
            default; needs weight None.

    Shape:
        - logits: a pair (point_logits [N, K, P], point_coords [N, P, 2] as (x, y) in [0, 1]).
        - label: integers [N, H, W] or [N, 1, H, W], each in [0, K) or ignore_index.
        - output: a float32 scalar.

    Raises:
        ValueError: labels outside [0, K) that are not ignore_index, weights that are not K numbers >= 0, or
            given where avg_non_ignore is False, wrong shapes.
        TypeError: labels that are not integers.
    """

    def __init__(
        self, weight: Sequence[float] | None = None, ignore_index: int = 255, avg_non_ignore: bool = True
    ) -> None:
        super().__init__()
        if weight is not None and not avg_non_ignore:
            raise ValueError("weight with avg_non_ignore: false is not supported; leave one of them out")
        self.ignore_index = ignore_index
        self.avg_non_ignore = avg_non_ignore
        self.weight = None if weight is None else paddle.to_tensor(weight, dtype="float32")
        if self.weight is not None and (self.weight.ndim != 1 or bool((self.weight < 0).any())):
            raise ValueError(f"weight must be a list of numbers >= 0, one for each class, got {weight}")

    def forward(self, logits: Sequence[paddle.Tensor], label: paddle.Tensor) -> paddle.Tensor:
        """Computes the loss; see Shape."""
        point_logits, point_coords = _unpack(logits)
        num_classes = point_logits.shape[1]
        if self.weight is not None and len(self.weight) != num_classes:
            raise ValueError(f"weight has {len(self.weight)} numbers, but the logits have {num_classes} classes")
        label = _as_map(label)
        self._check_labels(label, num_classes)
        # float32 is exact up to 2^24 and grid_sample takes no integers.
        sampled = point_sample(label.unsqueeze(1).astype("float32"), point_coords, mode="nearest")
        targets = sampled.squeeze(1).flatten().astype("int64")
        valid = targets != self.ignore_index
        targets = paddle.where(valid, targets, paddle.zeros_like(targets))
        flat_logits = point_logits.transpose([0, 2, 1]).flatten(0, 1).astype("float32")
        losses = F.cross_entropy(flat_logits, targets, reduction="none").flatten()
        weights = valid.astype("float32")
        if self.weight is not None:
            weights = weights * paddle.gather(self.weight, targets)
        if not self.avg_non_ignore:
            return (losses * weights).mean()
        total = weights.sum()
        return (losses * weights).sum() / paddle.where(total > 0, total, paddle.ones_like(total))

    def _check_labels(self, label, num_classes):
        wrong = (label != self.ignore_index) & ((label < 0) | (label >= num_classes))
        if bool(wrong.any()):
            values = paddle.unique(label[wrong]).tolist()
            raise ValueError(
                f"labels must lie in [0, {num_classes}) or be ignore_index = {self.ignore_index}, "
                f"got {values}; check the label files, num_classes and ignore_index"
            )


def _unpack(logits):
    if not isinstance(logits, (tuple, list)) or len(logits) != 2:
        raise ValueError(
            "PointSampledCrossEntropyLoss takes the pair (point_logits, point_coords), which PointRendSeg's "
            f"last training output is; got {type(logits).__name__}. Put it last in loss.types"
        )
    point_logits, point_coords = logits
    if point_logits.ndim != 3 or point_logits.shape[2] != point_coords.shape[1]:
        raise ValueError(
            "point_logits must be [N, K, P] and point_coords [N, P, 2], "
            f"got {list(point_logits.shape)} and {list(point_coords.shape)}"
        )
    return point_logits, point_coords


def _as_map(label):
    if label.dtype not in _LABEL_DTYPES:
        raise TypeError(f"label must hold integers, got {label.dtype}")
    if label.ndim == 4 and label.shape[1] == 1:
        label = label.squeeze(1)
    if label.ndim != 3:
        raise ValueError(f"label must be [N, H, W] or [N, 1, H, W], got shape {list(label.shape)}")
    # Compared with a uint8 tensor, an ignore_index of -100 would wrap to 156 and a class count of 300 to 44.
    return label.astype("int64")
