"""PointRend's mask head (section 4.1 of the paper).

R: boxes of all images, K: classes, S: side of the masks. Boxes of the first image come first, `counts` says how many
each image has. Levels run fine -> coarse, P2 first.

Source: Kirillov et al., "PointRend" (CVPR 2020); detectron2 projects/PointRend/point_rend/mask_head.py.
"""

import itertools
from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.models.instance.box_head import c2_xavier, he_normal, linear_with_bias
from paddle_pointrend.models.instance.mask_targets import MatchedMasks, mask_loss, masks_at_points, of_true_class
from paddle_pointrend.models.instance.region_points import RegionPoints
from paddle_pointrend.models.instance.regions import image_coords, regular_grid, sampler_in_boxes
from paddle_pointrend.models.point_head import PointHead
from paddle_pointrend.option_checks import check_counts
from paddle_pointrend.points import Execution, Subdivision, choose_execution, sample_training_points
from paddle_pointrend.points.eager_cpu import EAGER_CPU
from paddle_pointrend.points.selection import check_sampling_options

BOXES_AT_A_TIME = 4  # whose features stay in a processor's cache


class CoarseMaskHead(nn.Layer):
    """PointRend's coarse prediction: a strided convolution and fully connected layers give masks of 7 x 7.

    Args:
        num_classes: K.
        in_channels: of P2.
        pool_size: side of the grid of the box at which P2 is read, even.
        channels: of the convolution.
        fc_channels: of each fully connected layer.
        num_fcs: fully connected layers, at least 1.
        side: of the masks.

    Raises:
        ValueError: one of these is below 1.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        pool_size: int = 14,
        channels: int = 256,
        fc_channels: int = 1024,
        num_fcs: int = 2,
        side: int = 7,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_channels=in_channels, pool_size=pool_size, channels=channels)
        check_counts(fc_channels=fc_channels, num_fcs=num_fcs, side=side)
        self.num_classes, self.pool_size, self.side = num_classes, pool_size, side
        zero = nn.initializer.Constant(0.0)
        # The convolutions of the reference take as many channels as they give; wider maps are reduced before.
        self.reduce = nn.Conv2D(in_channels, channels, 2, stride=2, weight_attr=he_normal(4 * channels), bias_attr=zero)
        widths = [channels * (pool_size // 2) ** 2] + [fc_channels] * num_fcs
        self.fcs = nn.LayerList(linear_with_bias(i, o, c2_xavier(i)) for i, o in itertools.pairwise(widths))
        self.prediction = linear_with_bias(fc_channels, num_classes * side**2, nn.initializer.Normal(0.0, 0.001))

    def forward(self, pooled: paddle.Tensor) -> paddle.Tensor:
        """Predicts logits [R, K, side, side] of maps [R, C, pool_size, pool_size]."""
        x = F.relu(self.reduce(pooled)).flatten(1)
        for layer in self.fcs:
            x = F.relu(layer(x))
        return self.prediction(x).reshape([-1, self.num_classes, self.side, self.side])


class PointRendMaskHead(nn.Layer):
    """PointRend's: coarse masks of 7 x 7, and a point head on P2 that predicts where they are unsure.

    Inference starts from predictions at a regular grid, 28 x 28, and subdivides; each box's class alone is predicted.

    Args:
        num_classes: K.
        in_channels: of P2.
        stride: of P2.
        coarse_head: options of CoarseMaskHead.
        point_head: options of PointHead.
        num_train_points: of each box in training.
        oversample_ratio, importance_sample_ratio: see sample_training_points.
        subdivision_steps: doublings of the coarse mask's side; the first ones, while every point is predicted anyway,
            are the regular grid.
        num_subdivision_points: points predicted again in each step.

    Attributes:
        class_factors: by how many entries the axes of its tensors grow with each class, other than by one.
        initial_side: of the regular grid.
        num_steps: subdivision steps after it; masks are of initial_side * 2^num_steps.

    Raises:
        ValueError: options out of range.
    """

    train_on_predicted_boxes = True

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 256,
        stride: int = 4,
        coarse_head: dict | None = None,
        point_head: dict | None = None,
        num_train_points: int = 196,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        subdivision_steps: int = 5,
        num_subdivision_points: int = 784,
    ) -> None:
        super().__init__()
        check_sampling_options(num_train_points, oversample_ratio, importance_sample_ratio)
        check_counts(num_subdivision_points=num_subdivision_points)
        self.num_classes, self.in_channels, self.strides = num_classes, in_channels, [stride]
        self.num_train_points = num_train_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.num_subdivision_points = num_subdivision_points
        self.coarse_head = CoarseMaskHead(num_classes, in_channels, **(coarse_head or {}))
        self.point_head = PointHead(in_channels, num_classes, **({"predictor_init_std": 0.001} | (point_head or {})))
        self.class_factors = (self.coarse_head.side**2,)
        self.initial_side, self.num_steps = self.coarse_head.side, subdivision_steps
        while 4 * self.initial_side**2 <= num_subdivision_points and self.num_steps:
            self.initial_side, self.num_steps = 2 * self.initial_side, self.num_steps - 1

    def coarse_logits(
        self, levels: list[paddle.Tensor], boxes: paddle.Tensor, counts: Sequence[int], execution: Execution
    ) -> paddle.Tensor:
        """Predicts the coarse masks, logits [R, K, 7, 7]."""
        sample = sampler_in_boxes(levels[0], self.strides[0], boxes, counts, execution)
        side = self.coarse_head.pool_size
        return self.coarse_head(sample(regular_grid(boxes, side)).reshape([0, self.in_channels, side, side]))

    @paddle.no_grad()
    def predict(
        self,
        levels: list[paddle.Tensor],
        boxes: paddle.Tensor,
        counts: Sequence[int],
        classes: paddle.Tensor,
        steps: list | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Predicts the masks of the boxes' classes.

        Args:
            levels, boxes, counts: see the module.
            classes: int64 [R].
            steps: a list to which every SubdivisionStep of every block of boxes is appended.

        Returns:
            masks: probabilities [R, S, S].
            coarse_masks: those at the regular grid, [R, initial_side, initial_side].
        """
        execution = choose_execution(levels[0], *self.parameters())
        coarse_logits = self.coarse_logits(levels, boxes, counts, execution)
        side = self.initial_side * 2**self.num_steps
        masks = [paddle.zeros([0, side, side], boxes.dtype)]
        coarse_masks = [paddle.zeros([0, self.initial_side, self.initial_side], boxes.dtype)]
        first = 0
        for image, count in enumerate(counts):
            num_points = count * (self.initial_side**2 + self.num_steps * self.num_subdivision_points)
            features = levels[0][image : image + 1]
            points = RegionPoints(self.point_head, features, self.strides[0], execution, num_points)
            block = BOXES_AT_A_TIME if execution is EAGER_CPU else max(count, 1)
            for start in range(first, first + count, block):
                rows = slice(start, min(start + block, first + count))
                predict_points = points.of_boxes(boxes[rows], coarse_logits[rows], classes[rows])
                refined, coarse = self._refine(predict_points, boxes[rows], execution, steps)
                masks.append(refined)
                coarse_masks.append(coarse)
            first += count
        return paddle.concat(masks), paddle.concat(coarse_masks)

    def predict_in_graph(
        self,
        levels: list[paddle.Tensor],
        boxes_of_levels: list[paddle.Tensor],
        classes: paddle.Tensor,
        execution: Execution,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Predicts as `predict` does, in a traced graph, for one image.

        Args:
            levels: P2 alone.
            boxes_of_levels: the boxes [R, 4] alone, all of which are read from P2.
            classes: int64 [R].
            execution: how it is executed.
        """
        (features,), (boxes,) = levels, boxes_of_levels
        coarse_logits = self.coarse_logits(levels, boxes, [-1], execution)
        points = RegionPoints(self.point_head, features, self.strides[0], execution, 0)
        return self._refine(points.of_boxes(boxes, coarse_logits, classes), boxes, execution)

    def _refine(self, predict_points, boxes, execution, steps=None):
        """Probabilities of boxes [R, 4], refined and at the regular grid."""
        logits = predict_points(regular_grid(boxes, self.initial_side))
        logits = logits.reshape([-1, 1, self.initial_side, self.initial_side])
        subdivision = Subdivision(predict_points, execution)
        refined = subdivision.run(logits, [self.num_subdivision_points] * self.num_steps, steps)
        return F.sigmoid(refined).squeeze(1), F.sigmoid(logits).squeeze(1)

    def losses(
        self, levels: list[paddle.Tensor], boxes: paddle.Tensor, counts: Sequence[int], matched: MatchedMasks
    ) -> dict[str, paddle.Tensor]:
        """Computes loss_mask of the coarse masks, and loss_mask_point: means of the true class's cross-entropy.

        Args:
            levels, boxes, counts: see the module.
            matched: the object of every box.
        """
        execution = choose_execution(levels[0], *self.parameters())
        coarse_logits = self.coarse_logits(levels, boxes, counts, execution)
        of_class = of_true_class(coarse_logits, matched).unsqueeze(1)
        coords = sample_training_points(
            of_class.detach(), self.num_train_points, self.oversample_ratio, self.importance_sample_ratio
        )
        fine = sampler_in_boxes(levels[0], self.strides[0], boxes, counts, execution)
        point_logits = self.point_head(fine(coords), execution.sampler(coarse_logits)(coords))
        labels = masks_at_points(matched, image_coords(boxes, coords))
        return {
            "loss_mask": mask_loss(coarse_logits, boxes, matched),
            "loss_mask_point": F.binary_cross_entropy_with_logits(of_true_class(point_logits, matched), labels),
        }
