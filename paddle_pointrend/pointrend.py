"""PointRendSeg: a coarse segmentor and a point head (sections 3.1 to 3.3 of the paper)."""

import math
from numbers import Integral

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.checkpoints import load_pretrained
from paddle_pointrend.point_head import PointHead
from paddle_pointrend.points import (
    calculate_uncertainty,
    check_sampling_options,
    point_sample,
    sample_training_points,
    scatter_paddle,
    select_uncertain_points,
)


class PointRendSeg(nn.Layer):
    """Sharpens a segmentor: predicts again at the points where the coarse logits are unsure.

    Args:
        segmentor: a layer with `forward_features(x) -> (coarse_logits [N, K, h, w], fine_features list of
            [N, C_i, H_i, W_i], fine -> coarse)` and the attributes `num_classes`, `coarse_stride`,
            `fine_channels`. SemanticFPN is one.
        point_head: a PointHead, or a dict of its options, or None for its defaults.
        num_classes: K; only checked against the segmentor's. PaddleSeg writes it into the model's config.
        num_train_points: points of each image in training.
        oversample_ratio, importance_sample_ratio: see sample_training_points.
        subdivision_steps: doublings of the map in inference; None for as many as reach the input's size.
        num_subdivision_points: points predicted again in each step; a number, or a list of one for each step.
        size_divisor: in evaluation images are padded with zeros, at the right and below, to multiples of this, and
            the logits cut back, as detectron2 does (its zeros are the mean colour, put in after normalisation). In
            training the images must be such multiples: crop them so.
        pretrained: a file of weights of the whole model to start a training from, a path or a URL. Where they are of
            another number of classes, the tensors that depend on it stay random.
        in_channels: of the images; only checked against the segmentor's, where that says it. PaddleSeg writes it
            into the config of a model that has no `backbone` key.

    Raises:
        ValueError: a segmentor that lacks what is named above, sizes that differ, options out of range, training
            images that size_divisor does not divide.
        CheckpointError: pretrained weights that cannot be read or are not this model's.
    """

    def __init__(
        self,
        segmentor,
        point_head=None,
        *,
        num_classes=None,
        num_train_points=2048,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        subdivision_steps=None,
        num_subdivision_points=8192,
        size_divisor=1,
        pretrained=None,
        in_channels=None,
    ):
        super().__init__()
        _check_segmentor(segmentor, num_classes, in_channels)
        if point_head is None or isinstance(point_head, dict):
            point_head = PointHead(sum(segmentor.fine_channels), segmentor.num_classes, **(point_head or {}))
        _check_point_head(point_head, segmentor)
        check_sampling_options(num_train_points, oversample_ratio, importance_sample_ratio)
        if not isinstance(size_divisor, Integral) or size_divisor < 1:
            raise ValueError(f"size_divisor must be a whole number of at least 1, got {size_divisor!r}")
        self.segmentor = segmentor
        self.point_head = point_head
        self.num_train_points = num_train_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.num_subdivision_points = _points_of_steps(
            num_subdivision_points, subdivision_steps, segmentor.coarse_stride
        )
        self.size_divisor = size_divisor
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward(self, x):
        """Images [N, 3, H, W].

        Returns:
            In training [coarse logits [N, K, H, W], (point_logits [N, K, P], point_coords [N, P, 2])], one
            entry for each loss type; in evaluation [refined logits [N, K, H, W]].
        """
        if not self.training:
            images = _pad_to_multiple(x, self.size_divisor)
            refined = self.refine(*self.segmentor.forward_features(images), images.shape[2:])
            return [_cut(refined, images, x)]
        _check_divisible(x, self.size_divisor)
        coarse_logits, fine_features = self.segmentor.forward_features(x)
        return [
            _resize(coarse_logits, x.shape[2:]),
            self.predict_training_points(coarse_logits, fine_features),
        ]

    def predict_training_points(self, coarse_logits, fine_features):
        """(point_logits [N, K, P], point_coords [N, P, 2]) at points sampled for training."""
        coords = sample_training_points(
            coarse_logits, self.num_train_points, self.oversample_ratio, self.importance_sample_ratio
        )
        return self.predict_points(coarse_logits, fine_features, coords), coords

    def predict_points(self, coarse_logits, fine_features, point_coords):
        """The point head's logits [N, K, P] at coordinates [N, P, 2]."""
        fine = [point_sample(features, point_coords) for features in fine_features]
        return self.point_head(paddle.concat(fine, axis=1), point_sample(coarse_logits, point_coords))

    def refine(self, coarse_logits, fine_features, size):
        """Adaptive subdivision (section 3.1, "Inference"): refined logits [N, K, *size]."""
        logits = coarse_logits
        for num_points in self.num_subdivision_points:
            logits, _ = self.subdivide(logits, coarse_logits, fine_features, num_points)
        return _resize(logits, size)

    def subdivide(self, logits, coarse_logits, fine_features, num_points):
        """One step: the map doubled, its most uncertain points predicted again.

        The point head reads the first, coarse logits in every step, as both references do.

        Returns:
            logits [N, K, 2h, 2w] and the points' coords [N, P, 2].
        """
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        indices, coords = select_uncertain_points(calculate_uncertainty(logits), num_points)
        point_logits = self.predict_points(coarse_logits, fine_features, coords)
        index = indices.unsqueeze(1).expand(point_logits.shape)
        refined = scatter_paddle(logits.flatten(2), index, point_logits.astype(logits.dtype), axis=2)
        return refined.reshape(logits.shape), coords

    def predict_both(self, x):
        """Coarse and refined logits, each [N, K, H, W], of images [N, 3, H, W] in one forward pass."""
        images = _pad_to_multiple(x, self.size_divisor)
        coarse_logits, fine_features = self.segmentor.forward_features(images)
        refined = self.refine(coarse_logits, fine_features, images.shape[2:])
        return _cut(_resize(coarse_logits, images.shape[2:]), images, x), _cut(refined, images, x)


def _pad_to_multiple(images, divisor):
    """Zeros at the right and below, so that height and width are multiples."""
    if divisor == 1:
        return images
    height, width = images.shape[2:]
    if paddle.in_dynamic_mode() and height % divisor == 0 and width % divisor == 0:
        return images
    return F.pad(images, [0, -width % divisor, 0, -height % divisor])


def _cut(logits, padded, images):
    """The part of the padded images' logits that belongs to the images."""
    return logits if padded is images else logits[:, :, : images.shape[2], : images.shape[3]]


@paddle.jit.not_to_static  # there, a size not known yet stays -1 and passes
def _check_divisible(images, divisor):
    if any(size > 0 and size % divisor for size in images.shape[2:]):
        raise ValueError(
            f"size_divisor is {divisor}, but the training images are {list(images.shape[2:])}; "
            "crop them to multiples of it"
        )


def _resize(logits, size):
    # Under to_static the sizes may be tensors; there the interpolation, then an identity, stays in the graph.
    if paddle.in_dynamic_mode() and list(logits.shape[2:]) == list(size):
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def _points_of_steps(num_points, steps, coarse_stride):
    """A list of the points that each subdivision step predicts."""
    if steps is None:
        steps = len(num_points) if isinstance(num_points, (list, tuple)) else math.ceil(math.log2(coarse_stride))
    if steps < 0:
        raise ValueError(f"subdivision_steps must be at least 0, got {steps}")
    points = list(num_points) if isinstance(num_points, (list, tuple)) else [num_points] * steps
    if len(points) != steps or any(not isinstance(p, Integral) or p < 1 for p in points):
        raise ValueError(
            f"num_subdivision_points must be a whole number >= 1 or a list of {steps} such numbers, one a step, "
            f"got {num_points}"
        )
    return points


def _check_point_head(point_head, segmentor):
    if point_head.num_classes != segmentor.num_classes:
        raise ValueError(
            f"the point head predicts {point_head.num_classes} classes, the segmentor {segmentor.num_classes}"
        )
    if point_head.in_channels != sum(segmentor.fine_channels):
        raise ValueError(
            f"the point head takes {point_head.in_channels} channels, the segmentor's fine features have "
            f"{segmentor.fine_channels}; build it with in_channels={sum(segmentor.fine_channels)}"
        )


def _check_segmentor(segmentor, num_classes, in_channels):
    needed = ("forward_features", "num_classes", "coarse_stride", "fine_channels")
    missing = [name for name in needed if not hasattr(segmentor, name)]
    if missing:
        raise ValueError(
            f"segmentor {type(segmentor).__name__} lacks {', '.join(missing)}; use SemanticFPN, or a layer "
            "that has forward_features(x) -> (coarse_logits, [fine features]) and these attributes"
        )
    if num_classes is not None and num_classes != segmentor.num_classes:
        raise ValueError(
            f"num_classes is {num_classes} for PointRendSeg and {segmentor.num_classes} for its segmentor; "
            "set both to the dataset's"
        )
    if in_channels is not None and getattr(segmentor, "in_channels", in_channels) != in_channels:
        raise ValueError(
            f"the images have {in_channels} channels, the segmentor takes {segmentor.in_channels}; "
            f"set in_channels: {in_channels} in segmentor.backbone"
        )
