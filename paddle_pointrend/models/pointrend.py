"""PointRendSeg: a coarse segmentor and a point head (sections 3.1 to 3.3 of the paper)."""

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import paddle
from paddle import nn

from paddle_pointrend.models.feature_source import check_source, feature_source
from paddle_pointrend.models.point_head import PointHead
from paddle_pointrend.models.sizes import check_divisible, crop_to, if_of_size, interpolate, pad_to_multiple, resize
from paddle_pointrend.models.taps import Taps
from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.option_checks import check_counts, is_count
from paddle_pointrend.points import Execution, Subdivision, SubdivisionStep, choose_execution, sample_training_points
from paddle_pointrend.points.selection import check_sampling_options


class PointRendSeg(nn.Layer):
    """Sharpens a segmentor: predicts again at the points where the coarse logits are unsure.

    Args:
        segmentor: any segmentation model: its first output is logits, which it upsamples to the image's size. Or a
            layer with `forward_features(x) -> (coarse_logits [N, K, h, w], fine_features list of [N, C_i, H_i, W_i],
            fine -> coarse)` and the attributes `num_classes`, `coarse_stride`, `fine_channels`, as SemanticFPN.
        point_head: a PointHead, or a dict of its options, or None for its defaults.
        num_classes: K; only checked against the segmentor's. PaddleSeg writes it into the model's config.
        num_train_points: points of each image in training.
        oversample_ratio, importance_sample_ratio: see sample_training_points.
        subdivision_steps: doublings of the map in inference; None for as many as reach the input's size. A coarse map
            that has that size is not doubled, its points are predicted again once. More steps refine on a grid finer
            than the input, and the result is brought back to its size.
        num_subdivision_points: points predicted again in each step; a number, or a list of one for each step.
        refine_threshold: of the selected points only those are predicted again whose margin, best minus second-best
            logit, is at most this, so that easy images cost less (not in the paper); None predicts all. See
            docs/benchmarks.md for what it costs in quality.
        taps: {"coarse": PATH, "fine": [PATH, ...]}, sublayers where coarse logits and fine features come out; what is
            left out is found, see Taps. None for the segmentor's forward_features, or all found where it has none.
        freeze_segmentor: the segmentor stays as it is, its batch statistics too, and only the point head learns.
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
        segmentor: nn.Layer,
        point_head: PointHead | dict | None = None,
        *,
        num_classes: int | None = None,
        num_train_points: int = 2048,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        subdivision_steps: int | None = None,
        num_subdivision_points: int | Sequence[int] = 8192,
        refine_threshold: float | None = None,
        taps: dict | None = None,
        freeze_segmentor: bool = False,
        size_divisor: int = 1,
        pretrained: str | None = None,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        source = feature_source(segmentor, taps)
        check_source(source, num_classes, in_channels)
        if point_head is None or isinstance(point_head, dict):
            point_head = PointHead(sum(source.fine_channels), source.num_classes, **(point_head or {}))
        _check_point_head(point_head, source)
        check_sampling_options(num_train_points, oversample_ratio, importance_sample_ratio)
        check_counts(size_divisor=size_divisor)
        self.segmentor = segmentor
        self.taps = source if isinstance(source, Taps) else None
        self.point_head = point_head
        self.num_train_points = num_train_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.upsamples = source.coarse_stride > 1 or subdivision_steps is not None
        self.num_subdivision_points = _points_of_steps(num_subdivision_points, subdivision_steps, source.coarse_stride)
        if refine_threshold is not None and not refine_threshold >= 0:
            raise ValueError(
                f"refine_threshold must be at least 0, a margin of logits, or None, got {refine_threshold}"
            )
        self.refine_threshold = refine_threshold
        self.freeze_segmentor = freeze_segmentor
        if freeze_segmentor:
            for parameter in segmentor.parameters():
                parameter.stop_gradient = True
            segmentor.eval()
        self.size_divisor = size_divisor
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def train(self, mode: bool = True) -> "PointRendSeg":
        """Switches to training; a frozen segmentor stays in evaluation."""
        super().train(mode)
        if self.freeze_segmentor:
            self.segmentor.eval()
        return self

    def forward(self, x: paddle.Tensor) -> list:
        """Predicts images [N, 3, H, W].

        Returns:
            In training the segmentor's outputs at the input's size, [N, K, H, W] each, and (point_logits [N, K, P],
            point_coords [N, P, 2]) at the end, one entry for each loss type; of a frozen segmentor only the points.
            In evaluation [refined logits [N, K, H, W]].
        """
        if not self.training:
            return [self.predict_logits(x)]
        check_divisible(x, self.size_divisor)
        outputs, coarse_logits, fine_features = self.segment(x)
        points = self.predict_training_points(coarse_logits, fine_features)
        return [points] if self.freeze_segmentor else [*outputs, points]

    def segment(self, images: paddle.Tensor) -> tuple[list, paddle.Tensor, list[paddle.Tensor]]:
        """Runs the segmentor.

        Returns:
            outputs: its outputs at the images' size, the first from the coarse logits, others auxiliary.
            coarse_logits: [N, K, h, w].
            fine_features: list of [N, C_i, H_i, W_i].
        """
        outputs, coarse_logits, fine_features = self._run_segmentor(images)
        if outputs is None:
            outputs = [resize(coarse_logits, images.shape[2:])]
        return outputs, coarse_logits, fine_features

    def _run_segmentor(self, images):
        """As `segment`, but the outputs are None where refinement alone would have no use for them."""
        if self.freeze_segmentor and self.segmentor.training:
            self.segmentor.eval()  # a layer around this one switches all layers inside, without asking them
        with paddle.no_grad() if self.freeze_segmentor else contextlib.nullcontext():
            if self.taps is not None:
                return self.taps.read(self.segmentor, images)
            return None, *self.segmentor.forward_features(images)

    def predict_training_points(self, coarse_logits: paddle.Tensor, fine_features: list[paddle.Tensor]) -> tuple:
        """Predicts at points sampled for training: (point_logits [N, K, P], point_coords [N, P, 2])."""
        coords = sample_training_points(
            coarse_logits, self.num_train_points, self.oversample_ratio, self.importance_sample_ratio
        )
        return self.predict_points(coarse_logits, fine_features, coords), coords

    def predict_points(
        self, coarse_logits: paddle.Tensor, fine_features: list[paddle.Tensor], point_coords: paddle.Tensor
    ) -> paddle.Tensor:
        """Gives the point head's logits [N, K, P] at coordinates [N, P, 2]."""
        execution = choose_execution(coarse_logits, *fine_features, point_coords, *self.point_head.parameters())
        return self._predict(self._samplers(coarse_logits, fine_features, execution), point_coords)

    def _samplers(self, coarse_logits, fine_features, execution):
        """Functions point_coords [N, P, 2] -> [N, C, P], of the coarse logits first."""
        samplers = [execution.sampler(coarse_logits)]
        for features in fine_features:  # to_static misreads names of a function in a comprehension
            samplers.append(execution.sampler(features))
        return samplers

    def _predict(self, samplers, point_coords):
        coarse, *fine = [sample(point_coords) for sample in samplers]
        return self.point_head(fine[0] if len(fine) == 1 else paddle.concat(fine, axis=1), coarse)

    def subdivision(
        self, coarse_logits: paddle.Tensor, fine_features: list[paddle.Tensor], execution: Execution | None = None
    ) -> Subdivision:
        """Prepares the adaptive subdivision of a batch.

        The point head reads the first, coarse logits in every step, as in both references.

        Args:
            coarse_logits: [N, K, h, w].
            fine_features: list of [N, C_i, H_i, W_i].
            execution: how it is executed; None for the fastest way that supports the tensors.
        """
        if execution is None:
            execution = choose_execution(coarse_logits, *fine_features, *self.point_head.parameters())
        samplers = self._samplers(coarse_logits, fine_features, execution)
        return Subdivision(
            lambda point_coords: self._predict(samplers, point_coords),
            execution,
            threshold=self.refine_threshold,
            upsamples=self.upsamples,
        )

    def refine(
        self,
        coarse_logits: paddle.Tensor,
        fine_features: list[paddle.Tensor],
        size: Sequence,
        execution: Execution | None = None,
    ) -> paddle.Tensor:
        """Refines coarse logits to [N, K, *size]; arguments as for `subdivision`."""
        subdivision = self.subdivision(coarse_logits, fine_features, execution)
        refined = subdivision.after(coarse_logits, self.num_subdivision_points)

        def cropped():
            return subdivision.execution.crop_classes(refined, coarse_logits.shape[1])

        # Cropped inside: a branch of a graph copies what comes from outside.
        return if_of_size(refined, size, cropped, lambda: interpolate(cropped(), size))

    def refine_labels(
        self,
        coarse_logits: paddle.Tensor,
        fine_features: list[paddle.Tensor],
        size: Sequence,
        execution: Execution | None = None,
    ) -> paddle.Tensor:
        """Gives the best classes, int64 [N, *size], of what `refine` gives.

        Where the last step's map has that size its points change labels instead of logits, which saves a copy of the
        full-size logits.
        """
        if not self.num_subdivision_points:
            return self.refine(coarse_logits, fine_features, size, execution).argmax(axis=1)
        *steps, last = self.num_subdivision_points
        subdivision = self.subdivision(coarse_logits, fine_features, execution)
        step = subdivision.step(subdivision.after(coarse_logits, steps), last)
        num_classes = coarse_logits.shape[1]

        def labels_of_resized_logits():
            refined = subdivision.execution.crop_classes(subdivision.put(step), num_classes)
            return interpolate(refined, size).argmax(axis=1)

        return if_of_size(step.logits, size, lambda: subdivision.put_labels(step), labels_of_resized_logits)

    def predict_logits(self, x: paddle.Tensor, execution: Execution | None = None) -> paddle.Tensor:
        """Predicts refined logits [N, K, H, W] of images [N, 3, H, W]; `execution` as for `subdivision`."""
        images = pad_to_multiple(x, self.size_divisor)
        _, coarse_logits, fine_features = self._run_segmentor(images)
        return crop_to(self.refine(coarse_logits, fine_features, images.shape[2:], execution), images, x)

    def predict_labels(self, x: paddle.Tensor, execution: Execution | None = None) -> paddle.Tensor:
        """Predicts the best classes, int64 [N, H, W], of what `predict_logits` gives for images [N, 3, H, W]."""
        images = pad_to_multiple(x, self.size_divisor)
        _, coarse_logits, fine_features = self._run_segmentor(images)
        return crop_to(self.refine_labels(coarse_logits, fine_features, images.shape[2:], execution), images, x)

    def predict_both(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Predicts coarse and refined logits, each [N, K, H, W], of images [N, 3, H, W] in one forward pass."""
        trace = self.trace(x, keep_steps=False)
        return trace.coarse, trace.refined

    def trace(self, x: paddle.Tensor, *, keep_steps: bool = True) -> "Trace":
        """Predicts images [N, 3, H, W] and keeps what each subdivision step did, to look at or to compare."""
        images = pad_to_multiple(x, self.size_divisor)
        outputs, coarse_logits, fine_features = self.segment(images)
        steps: list[SubdivisionStep] | None = [] if keep_steps else None
        subdivision = self.subdivision(coarse_logits, fine_features)
        refined = resize(subdivision.run(coarse_logits, self.num_subdivision_points, steps), images.shape[2:])
        coarse = resize(outputs[0], images.shape[2:])  # some models return a little more than the image
        return Trace(crop_to(coarse, images, x), crop_to(refined, images, x), steps)


class Trace(NamedTuple):
    """A forward pass of PointRendSeg.

    coarse: the segmentor's logits [N, K, H, W] at the images' size.
    refined: the refined logits [N, K, H, W].
    steps: the SubdivisionSteps, whose logits are the refined ones of that step; over the padded images where
        size_divisor pads. None where they were not kept.
    """

    coarse: paddle.Tensor
    refined: paddle.Tensor
    steps: list[SubdivisionStep] | None


def _points_of_steps(num_points, steps, coarse_stride):
    """A list of the points that each subdivision step predicts."""
    if steps is None:
        steps = (
            len(num_points) if isinstance(num_points, (list, tuple)) else max(1, math.ceil(math.log2(coarse_stride)))
        )
    if steps < 0:
        raise ValueError(f"subdivision_steps must be at least 0, got {steps}")
    points = list(num_points) if isinstance(num_points, (list, tuple)) else [num_points] * steps
    if len(points) != steps or not all(map(is_count, points)):
        raise ValueError(
            f"num_subdivision_points must be a whole number >= 1 or a list of {steps} such numbers, one a step, "
            f"got {num_points}"
        )
    return points


def _check_point_head(point_head, source):
    if point_head.num_classes != source.num_classes:
        raise ValueError(
            f"the point head predicts {point_head.num_classes} classes, the segmentor {source.num_classes}"
        )
    if point_head.in_channels != sum(source.fine_channels):
        raise ValueError(
            f"the point head takes {point_head.in_channels} channels, the segmentor's fine features have "
            f"{source.fine_channels}; build it with in_channels={sum(source.fine_channels)}"
        )
