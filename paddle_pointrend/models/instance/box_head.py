"""The box head: which class a proposal shows, and where the object's border is.

R: boxes of all images, K: classes.

Source: Girshick, "Fast R-CNN" (ICCV 2015); detectron2/modeling/roi_heads/box_head.py, fast_rcnn.py.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.models.instance.boxes import batched_nms, clip_boxes, decode_boxes, encode_boxes
from paddle_pointrend.models.instance.matching import SampledBoxes
from paddle_pointrend.models.instance.roi_align import pool_levels
from paddle_pointrend.models.instance.structures import Targets
from paddle_pointrend.option_checks import check_counts

DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class BoxHead(nn.Layer):
    """Fully connected layers on RoIAlign of the pyramid, then K + 1 scores (the last is background's) and 4K deltas.

    Args:
        num_classes: K.
        in_channels: of every level.
        strides: of the levels, fine -> coarse.
        pool_size: side of the pooled maps.
        fc_channels: of each fully connected layer.
        num_fcs: fully connected layers, at least 1.
        score_threshold: detections have a higher score.
        nms_threshold: IoU, within a class.
        max_detections: of an image.

    Raises:
        ValueError: a number of classes, channels, layers or detections below 1.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        strides: Sequence[int],
        *,
        pool_size: int = 7,
        fc_channels: int = 1024,
        num_fcs: int = 2,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_channels=in_channels, pool_size=pool_size)
        check_counts(fc_channels=fc_channels, num_fcs=num_fcs, max_detections=max_detections)
        self.num_classes = num_classes
        self.strides = list(strides)
        self.pool_size = pool_size
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.max_detections = max_detections
        widths = [in_channels * pool_size**2] + [fc_channels] * num_fcs
        self.fcs = nn.LayerList(linear_with_bias(i, o, c2_xavier(i)) for i, o in itertools.pairwise(widths))
        self.cls_score = linear_with_bias(fc_channels, num_classes + 1, nn.initializer.Normal(0.0, 0.01))
        self.bbox_pred = linear_with_bias(fc_channels, 4 * num_classes, nn.initializer.Normal(0.0, 0.001))

    def pool(self, levels: list[paddle.Tensor], boxes: paddle.Tensor, counts: Sequence[int]) -> paddle.Tensor:
        """Pools boxes [R, 4], `counts` of each image, from the levels: [R, C, pool_size, pool_size]."""
        return pool_levels(levels, self.strides, boxes, counts, self.pool_size)

    def forward(self, pooled: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Predicts scores [R, K + 1], logits, and deltas [R, K, 4] of pooled maps."""
        x = pooled.flatten(1)
        for layer in self.fcs:
            x = F.relu(layer(x))
        return self.cls_score(x), self.bbox_pred(x).reshape([-1, self.num_classes, 4])

    def losses(
        self, scores: paddle.Tensor, deltas: paddle.Tensor, samples: list[SampledBoxes], targets: list[Targets]
    ) -> dict[str, paddle.Tensor]:
        """Computes loss_cls, the mean cross-entropy, and loss_box_reg, the L1 loss of the true class's deltas / R.

        Args:
            scores, deltas: of `forward` for the samples of all images.
            samples: one an image.
            targets: one an image, tensors.
        """
        classes = np.concatenate([sample.classes for sample in samples])
        boxes = paddle.concat([sample.boxes for sample in samples])
        objects = paddle.concat([_matched_boxes(sample, target) for sample, target in zip(samples, targets)])
        foreground = np.flatnonzero(classes < self.num_classes)
        places = paddle.to_tensor(foreground)
        wanted = encode_boxes(paddle.gather(objects, places), paddle.gather(boxes, places), DELTA_WEIGHTS)
        predicted = _of_classes(deltas, foreground, classes[foreground])
        true_scores = _of_classes(scores, np.arange(len(classes)), classes)
        return {
            # Paddle's cross_entropy cuts a loss above 64 off on CPU.
            "loss_cls": (paddle.logsumexp(scores, axis=1) - true_scores).mean(),
            "loss_box_reg": (predicted - wanted).abs().sum() / max(len(classes), 1),
        }

    @paddle.no_grad()
    def boxes_of_classes(self, deltas: paddle.Tensor, boxes: paddle.Tensor, classes: np.ndarray) -> paddle.Tensor:
        """Predicts where the objects of given classes are, [R, 4], not clipped to the image.

        Args:
            deltas: [R, K, 4], of `forward`.
            boxes: [R, 4], that were pooled.
            classes: int64 [R], below K.
        """
        return decode_boxes(_of_classes(deltas.detach(), np.arange(len(classes)), classes), boxes, DELTA_WEIGHTS)

    def candidates(
        self, scores: paddle.Tensor, deltas: paddle.Tensor, proposals: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Turns what `forward` predicts of proposals [R, 4] into boxes [R, K, 4] and probabilities [R, K + 1]."""
        return decode_boxes(deltas, proposals.unsqueeze(1), DELTA_WEIGHTS), F.softmax(scores, axis=1)

    @paddle.no_grad()
    def detect(
        self,
        scores: paddle.Tensor,
        deltas: paddle.Tensor,
        proposals: list[paddle.Tensor],
        image_sizes: Sequence[Sequence[int]],
    ) -> list[tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]]:
        """Chooses the detections of each image.

        Args:
            scores, deltas: of `forward` for the proposals of all images.
            proposals: the boxes [R_i, 4] of each image.
            image_sizes: (height, width) of each image before padding.

        Returns:
            (boxes [D, 4] clipped to the image, scores [D], classes int64 [D]) of each image, best first.
        """
        counts = [len(boxes) for boxes in proposals]
        boxes, probabilities = self.candidates(scores, deltas, paddle.concat(proposals))
        return [
            self._detect_in_image(image_boxes, image_probabilities, size)
            for image_boxes, image_probabilities, size in zip(
                paddle.split(boxes, counts), paddle.split(probabilities, counts), image_sizes
            )
        ]

    def _detect_in_image(self, boxes, probabilities, image_size):
        is_finite = paddle.isfinite(boxes.flatten(1)).all(axis=1) & paddle.isfinite(probabilities).all(axis=1)
        likely = (probabilities[:, :-1] > self.score_threshold) & is_finite.unsqueeze(1)
        places = likely.nonzero()
        boxes = clip_boxes(paddle.gather_nd(boxes, places), image_size)
        scores, classes = paddle.gather_nd(probabilities, places), places[:, 1]
        kept = batched_nms(boxes, scores, classes, self.nms_threshold)[: self.max_detections]
        return tuple(paddle.gather(x, kept) for x in (boxes, scores, classes))


def _matched_boxes(sample, target):
    """The object's box of each sample [S, 4]; for background any."""
    if not target.boxes.shape[0]:
        return sample.boxes
    return paddle.gather(target.boxes, paddle.to_tensor(sample.matches))


def _of_classes(values, rows, classes):
    """values [R, K, ...] at places of two axes, int64 [n] each: [n, ...]."""
    places = [paddle.to_tensor(rows), paddle.to_tensor(classes)]
    return paddle.gather_nd(values, paddle.stack(places, axis=1))


def c2_xavier(fan_in: int) -> nn.initializer.Initializer:
    """Caffe2's XavierFill: uniform within sqrt(3 / fan in)."""
    return nn.initializer.KaimingUniform(fan_in=fan_in, negative_slope=1.0, nonlinearity="leaky_relu")


def he_normal(fan_out: int) -> nn.initializer.Initializer:
    """He et al. 2015, fan out, as the references start the convolutions of heads."""
    return nn.initializer.Normal(0.0, (2.0 / fan_out) ** 0.5)


def linear_with_bias(in_features: int, out_features: int, weight_init: nn.initializer.Initializer) -> nn.Linear:
    """Makes a fully connected layer with a bias that starts at zero."""
    return nn.Linear(in_features, out_features, weight_attr=weight_init, bias_attr=nn.initializer.Constant(0.0))
