"""The region proposal network: where objects may be, whatever they are.

N: images, L: levels of the pyramid, A: anchors of a level, all cells together.

Source: Ren et al., "Faster R-CNN" (NeurIPS 2015); detectron2/modeling/proposal_generator.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.models.fpn import conv_with_bias
from paddle_pointrend.models.instance.anchors import cell_anchors, grid_anchors
from paddle_pointrend.models.instance.boxes import (
    batched_nms,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    nonempty,
    pairwise_iou,
)
from paddle_pointrend.models.instance.matching import match_boxes, sample_labels
from paddle_pointrend.models.instance.structures import Targets

DELTA_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


class AnchorPredictions(NamedTuple):
    """What is predicted of the anchors, a list of one entry a level.

    logits: [N, A] that an anchor shows an object.
    deltas: [N, A, 4] from the anchor to the object.
    anchors: [A, 4].
    """

    logits: list[paddle.Tensor]
    deltas: list[paddle.Tensor]
    anchors: list[paddle.Tensor]


class RPN(nn.Layer):
    """A 3x3 convolution that all levels share, and two 1x1 ones for objectness and deltas.

    Args:
        in_channels: of every level.
        strides: of the levels, fine -> coarse.
        anchor_sizes: one a level, pixels.
        anchor_ratios: height / width.
        pre_nms_top_n: (in training, in evaluation) the best of each level that enter suppression.
        post_nms_top_n: (in training, in evaluation) the proposals of an image.
        nms_threshold: IoU.
        num_samples, positive_fraction: anchors of an image that the losses read.
        iou_thresholds: below the first an anchor is background, from the second on it shows an object.

    Raises:
        ValueError: not one size for each level.
    """

    def __init__(
        self,
        in_channels: int,
        strides: Sequence[int],
        *,
        anchor_sizes: Sequence[float] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        pre_nms_top_n: Sequence[int] = (2000, 1000),
        post_nms_top_n: Sequence[int] = (1000, 1000),
        nms_threshold: float = 0.7,
        num_samples: int = 256,
        positive_fraction: float = 0.5,
        iou_thresholds: Sequence[float] = (0.3, 0.7),
    ) -> None:
        super().__init__()
        if len(anchor_sizes) != len(strides):
            raise ValueError(
                f"one anchor size is needed for each level, got {list(anchor_sizes)} and strides {list(strides)}"
            )
        self.strides = list(strides)
        self.cell_anchors = [cell_anchors(size, anchor_ratios) for size in anchor_sizes]
        self.pre_nms_top_n, self.post_nms_top_n = tuple(pre_nms_top_n), tuple(post_nms_top_n)
        self.nms_threshold = nms_threshold
        self.num_samples = num_samples
        self.positive_fraction = positive_fraction
        self.iou_thresholds = tuple(iou_thresholds)
        init, num_anchors = nn.initializer.Normal(0.0, 0.01), len(anchor_ratios)
        self.conv = conv_with_bias(in_channels, in_channels, 3, init)
        self.objectness_logits = conv_with_bias(in_channels, num_anchors, 1, init)
        self.anchor_deltas = conv_with_bias(in_channels, 4 * num_anchors, 1, init)

    def forward(self, levels: list[paddle.Tensor]) -> AnchorPredictions:
        """Predicts logits and deltas of all anchors of pyramid levels [N, C, H_i, W_i]."""
        predictions = AnchorPredictions([], [], [])
        for level, stride, anchors in zip(levels, self.strides, self.cell_anchors):
            hidden = F.relu(self.conv(level))
            height, width = level.shape[2:]
            logits, deltas = self.objectness_logits(hidden), self.anchor_deltas(hidden)
            predictions.logits.append(logits.transpose([0, 2, 3, 1]).flatten(1))
            deltas = deltas.transpose([0, 2, 3, 1]).flatten(1).reshape([0, -1, 4])
            predictions.deltas.append(deltas)
            predictions.anchors.append(grid_anchors(height, width, stride, anchors))
        return predictions

    @paddle.no_grad()
    def propose(
        self, predictions: AnchorPredictions, image_sizes: Sequence[Sequence[int]]
    ) -> tuple[list[paddle.Tensor], list[paddle.Tensor]]:
        """Chooses the proposals of every image.

        Args:
            predictions: of `forward`.
            image_sizes: (height, width) of each image before padding.

        Returns:
            boxes: list of [R_i, 4], best first, clipped to the image, none without area.
            logits: list of [R_i].

        Raises:
            FloatingPointError: in training, predictions that are not finite.
        """
        pre_nms, post_nms = (top_n[0 if self.training else 1] for top_n in (self.pre_nms_top_n, self.post_nms_top_n))
        boxes, scores, level_of = [], [], []
        for i, (logits, deltas, anchors) in enumerate(zip(*predictions)):
            best, places = paddle.topk(logits, min(pre_nms, logits.shape[1]), axis=1)
            best_deltas = paddle.take_along_axis(deltas, places.unsqueeze(2), axis=1)
            references = paddle.gather(anchors, places.flatten()).reshape(best_deltas.shape)
            boxes.append(decode_boxes(best_deltas, references, DELTA_WEIGHTS))
            scores.append(best)
            level_of.append(np.full(best.shape[1], i))
        groups = paddle.to_tensor(np.concatenate(level_of))
        chosen = [
            self._suppress(image_boxes, image_scores, groups, size, post_nms)
            for image_boxes, image_scores, size in zip(
                paddle.concat(boxes, axis=1), paddle.concat(scores, axis=1), image_sizes
            )
        ]
        return [b for b, _ in chosen], [s for _, s in chosen]

    def _suppress(self, boxes, scores, groups, image_size, count):
        is_finite = paddle.isfinite(boxes).all(axis=1) & paddle.isfinite(scores)
        if self.training and not bool(is_finite.all()):
            raise FloatingPointError("training has diverged: proposals are not finite; lower the learning rate")
        boxes = clip_boxes(boxes, image_size)
        usable = (is_finite & nonempty(boxes)).nonzero().flatten()
        boxes, scores, groups = (paddle.gather(x, usable) for x in (boxes, scores, groups))
        kept = batched_nms(boxes, scores, groups, self.nms_threshold)[:count]
        return paddle.gather(boxes, kept), paddle.gather(scores, kept)

    def losses(self, predictions: AnchorPredictions, targets: list[Targets]) -> dict[str, paddle.Tensor]:
        """Computes loss_rpn_cls and loss_rpn_loc, both sums over a sample of anchors / (num_samples x images).

        Args:
            predictions: of `forward`.
            targets: one an image, tensors, boxes with an area.
        """
        anchors = paddle.concat(predictions.anchors)
        logits, deltas = paddle.concat(predictions.logits, axis=1), paddle.concat(predictions.deltas, axis=1)
        class_losses, box_losses = [], []
        for i, target in enumerate(targets):
            matches, labels = match_boxes(
                pairwise_iou(target.boxes, anchors), self.iou_thresholds, [0, -1, 1], low_quality_matches=True
            )
            positives, negatives = sample_labels(labels, self.num_samples, self.positive_fraction, background=0)
            sampled = paddle.to_tensor(np.concatenate([positives, negatives]))
            is_object = (paddle.arange(len(sampled)) < len(positives)).astype(logits.dtype)
            class_losses.append(
                F.binary_cross_entropy_with_logits(paddle.gather(logits[i], sampled), is_object, reduction="sum")
            )
            places = paddle.to_tensor(positives)
            objects = paddle.gather(target.boxes, paddle.to_tensor(matches[positives]))
            wanted = encode_boxes(objects, paddle.gather(anchors, places), DELTA_WEIGHTS)
            box_losses.append((paddle.gather(deltas[i], places) - wanted).abs().sum())
        normalizer = self.num_samples * len(targets)
        return {
            "loss_rpn_cls": paddle.add_n(class_losses) / normalizer,
            "loss_rpn_loc": paddle.add_n(box_losses) / normalizer,
        }
