"""PointRendSeg: a coarse segmentor and a point head (sections 3.1 to 3.3 of the paper)."""

import contextlib
import math
from numbers import Integral

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.models.point_head import PointHead
from paddle_pointrend.models.taps import Taps
from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.points import eager_cpu as cpu_maps
from paddle_pointrend.points.operations import (
    are_unsure,
    calculate_uncertainty,
    check_sampling_options,
    grid_of_classes,
    keep_unsure_points,
    order_as_in_memory,
    point_reader,
    replace_points,
    sample_training_points,
    select_uncertain_points,
)

IMPOSSIBLE_LOGIT = -1e4  # in float16's range


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
        taps: for a segmentor without forward_features, {"coarse": PATH, "fine": [PATH, ...]}, sublayers where coarse
            logits and fine features come out; what is left out is found. See Taps.
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
        segmentor,
        point_head=None,
        *,
        num_classes=None,
        num_train_points=2048,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        subdivision_steps=None,
        num_subdivision_points=8192,
        refine_threshold=None,
        taps=None,
        freeze_segmentor=False,
        size_divisor=1,
        pretrained=None,
        in_channels=None,
    ):
        super().__init__()
        source = _source(segmentor, taps)
        _check_source(source, num_classes, in_channels)
        if point_head is None or isinstance(point_head, dict):
            point_head = PointHead(sum(source.fine_channels), source.num_classes, **(point_head or {}))
        _check_point_head(point_head, source)
        check_sampling_options(num_train_points, oversample_ratio, importance_sample_ratio)
        if not isinstance(size_divisor, Integral) or size_divisor < 1:
            raise ValueError(f"size_divisor must be a whole number of at least 1, got {size_divisor!r}")
        self.segmentor = segmentor
        self.taps = source if isinstance(source, Taps) else None
        self.point_head = point_head
        self.num_train_points = num_train_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.doubles = source.coarse_stride > 1 or subdivision_steps is not None
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

    def train(self, mode=True):
        super().train(mode)
        if self.freeze_segmentor:
            self.segmentor.eval()
        return self

    def forward(self, x):
        """Images [N, 3, H, W].

        Returns:
            In training the segmentor's outputs at the input's size, [N, K, H, W] each, and (point_logits [N, K, P],
            point_coords [N, P, 2]) at the end, one entry for each loss type; of a frozen segmentor only the points.
            In evaluation [refined logits [N, K, H, W]].
        """
        if not self.training:
            images = _pad_to_multiple(x, self.size_divisor)
            _, coarse_logits, fine_features = self._read_segmentor(images)
            return [_cut(self.refine(coarse_logits, fine_features, images.shape[2:]), images, x)]
        _check_divisible(x, self.size_divisor)
        outputs, coarse_logits, fine_features = self.segment(x)
        points = self.predict_training_points(coarse_logits, fine_features)
        return [points] if self.freeze_segmentor else [*outputs, points]

    def segment(self, images):
        """The segmentor's forward pass.

        Returns:
            outputs: its outputs at the images' size, the first from the coarse logits, others auxiliary.
            coarse_logits: [N, K, h, w].
            fine_features: list of [N, C_i, H_i, W_i].
        """
        outputs, coarse_logits, fine_features = self._read_segmentor(images)
        if outputs is None:
            outputs = [_resize(coarse_logits, images.shape[2:])]
        return outputs, coarse_logits, fine_features

    def _read_segmentor(self, images):
        """As `segment`, but the outputs are None where refinement alone would have no use for them."""
        if self.freeze_segmentor and self.segmentor.training:
            self.segmentor.eval()  # a layer around this one switches all layers inside, without asking them
        with paddle.no_grad() if self.freeze_segmentor else contextlib.nullcontext():
            if self.taps is not None:
                return self.taps.read(self.segmentor, images)
            return None, *self.segmentor.forward_features(images)

    def predict_training_points(self, coarse_logits, fine_features):
        """(point_logits [N, K, P], point_coords [N, P, 2]) at points sampled for training."""
        coords = sample_training_points(
            coarse_logits, self.num_train_points, self.oversample_ratio, self.importance_sample_ratio
        )
        return self.predict_points(coarse_logits, fine_features, coords), coords

    def predict_points(self, coarse_logits, fine_features, point_coords):
        """The point head's logits [N, K, P] at coordinates [N, P, 2]."""
        return self._predict_with(_point_readers(coarse_logits, fine_features), point_coords)

    def _predict_with(self, readers, point_coords):
        """`predict_points` through functions point_coords -> [N, C, P], of the coarse logits first."""
        coarse, *fine = [read(point_coords) for read in readers]
        return self.point_head(fine[0] if len(fine) == 1 else paddle.concat(fine, axis=1), coarse)

    def refine(self, coarse_logits, fine_features, size):
        """Adaptive subdivision (section 3.1, "Inference"): refined logits [N, K, *size]."""
        logits, _ = self._after_steps(coarse_logits, fine_features, self.num_subdivision_points)
        return _resize(_first_classes(logits, coarse_logits.shape[1]), size)

    def refine_labels(self, coarse_logits, fine_features, size):
        """The best classes, int64 [N, *size], of what `refine` returns.

        Where the last step's map has that size its points change labels instead of logits, which saves a copy of the
        full-size logits.
        """
        if not self.num_subdivision_points:
            return self.refine(coarse_logits, fine_features, size).argmax(axis=1)
        *steps, last = self.num_subdivision_points
        logits, readers = self._after_steps(coarse_logits, fine_features, steps)
        logits, indices, _, point_logits, is_unsure = self._predict_again(logits, readers, last)

        def changed_labels():
            labels, point_labels = (x.argmax(axis=1, keepdim=True) for x in (logits, point_logits))
            return replace_points(labels, indices, point_labels, is_unsure).squeeze(1)

        def resized_labels():
            refined = replace_points(logits, indices, point_logits, is_unsure)
            return _interpolate(_first_classes(refined, coarse_logits.shape[1]), size).argmax(axis=1)

        return _if_of_size(logits, size, changed_labels, resized_labels)

    def _after_steps(self, coarse_logits, fine_features, points_of_steps):
        """The map after these steps, with the classes of `_fill_grid`; and the functions of `_point_readers`."""
        readers, logits = _point_readers(coarse_logits, fine_features), _fill_grid(coarse_logits)
        for num_points in points_of_steps:
            logits, _ = self._subdivide(logits, readers, num_points)
        return logits, readers

    def subdivide(self, logits, coarse_logits, fine_features, num_points):
        """One step: the map doubled, its most uncertain points predicted again.

        The point head reads the first, coarse logits in every step, as both references do. A map that has the image's
        size already (`doubles` is False) keeps it.

        Returns:
            logits [N, K, 2h, 2w] and the points' coords [N, P, 2].
        """
        return self._subdivide(logits, _point_readers(coarse_logits, fine_features), num_points)

    def _subdivide(self, logits, readers, num_points):
        """`subdivide` with the functions of `_point_readers`."""
        logits, indices, coords, point_logits, is_unsure = self._predict_again(logits, readers, num_points)
        return replace_points(logits, indices, point_logits, is_unsure), coords

    def _predict_again(self, logits, readers, num_points):
        """The doubled map [N, K, H, W] and its points: indices, coords, logits [N, K, P], and which of them count."""
        if self.doubles:
            logits = cpu_maps.double(logits)
        else:
            logits = logits.clone()  # replace_points may write into it
        uncertainty, is_unsure = calculate_uncertainty(logits), None
        indices, _ = select_uncertain_points(uncertainty, num_points, sorted=self.refine_threshold is not None)
        if self.refine_threshold is not None:
            indices = keep_unsure_points(uncertainty, indices, self.refine_threshold)
        indices, coords = order_as_in_memory(indices, uncertainty.shape[2:])
        if self.refine_threshold is not None:
            is_unsure = are_unsure(uncertainty, indices, self.refine_threshold)
        return logits, indices, coords, self._predict_with(readers, coords), is_unsure

    def predict_labels(self, x):
        """The best classes, int64 [N, H, W], of what `forward` gives in evaluation for images [N, 3, H, W]."""
        images = _pad_to_multiple(x, self.size_divisor)
        _, coarse_logits, fine_features = self._read_segmentor(images)
        labels = self.refine_labels(coarse_logits, fine_features, images.shape[2:])
        return labels if images is x else labels[:, : x.shape[2], : x.shape[3]]

    def predict_both(self, x):
        """Coarse and refined logits, each [N, K, H, W], of images [N, 3, H, W] in one forward pass."""
        images = _pad_to_multiple(x, self.size_divisor)
        outputs, coarse_logits, fine_features = self.segment(images)
        refined = self.refine(coarse_logits, fine_features, images.shape[2:])
        coarse = _resize(outputs[0], images.shape[2:])  # some models return a little more than the image
        return _cut(coarse, images, x), _cut(refined, images, x)


def _pad_to_multiple(images, divisor):
    """Zeros at the right and below, so that height and width are multiples."""
    if divisor == 1:
        return images
    num_images, channels, height, width = images.shape
    if paddle.in_dynamic_mode() and height % divisor == 0 and width % divisor == 0:
        return images
    # Not F.pad: paddle2onnx 2.1.0 leaves the value of one whose sizes are not known yet to chance.
    below = paddle.zeros([num_images, channels, -height % divisor, width], images.dtype)
    images = paddle.concat([images, below], axis=2)
    right = paddle.zeros([num_images, channels, images.shape[2], -width % divisor], images.dtype)
    return paddle.concat([images, right], axis=3)


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
    """Logits [N, K, *size]; where they have that size already nothing is computed."""
    return _if_of_size(logits, size, lambda: logits, lambda: _interpolate(logits, size))


def _interpolate(logits, size):
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@paddle.jit.not_to_static
def _if_of_size(logits, size, same, other):
    """same() where the logits [N, K, H, W] have that size, else other()."""
    if paddle.in_dynamic_mode():
        return same() if list(logits.shape[2:]) == list(size) else other()
    height, width = paddle.shape(logits)[2:]
    return paddle.static.nn.cond(paddle.logical_and(height == size[0], width == size[1]), same, other)


def _fill_grid(logits):
    """In a traced graph: classes that nothing can be, so that there is one for each place of grid_of_classes."""
    rows, columns = grid_of_classes(logits.shape[1])
    if paddle.in_dynamic_mode() or rows * columns == logits.shape[1]:
        return logits
    pads = [0, 0, 0, rows * columns - logits.shape[1], 0, 0, 0, 0]
    return F.pad(logits, pads, value=IMPOSSIBLE_LOGIT, pad_from_left_axis=True)


def _first_classes(logits, num_classes):
    """Without the classes of `_fill_grid`: by an index, because ONNX Runtime copies a slice with one thread only."""
    if logits.shape[1] == num_classes:
        return logits
    return paddle.index_select(logits, paddle.arange(num_classes), axis=1)


def _point_readers(coarse_logits, fine_features):
    """point_reader of the coarse logits and of each map of fine features."""
    return [point_reader(features) for features in (coarse_logits, *fine_features)]


def _points_of_steps(num_points, steps, coarse_stride):
    """A list of the points that each subdivision step predicts."""
    if steps is None:
        steps = (
            len(num_points) if isinstance(num_points, (list, tuple)) else max(1, math.ceil(math.log2(coarse_stride)))
        )
    if steps < 0:
        raise ValueError(f"subdivision_steps must be at least 0, got {steps}")
    points = list(num_points) if isinstance(num_points, (list, tuple)) else [num_points] * steps
    if len(points) != steps or any(not isinstance(p, Integral) or p < 1 for p in points):
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


def _source(segmentor, taps):
    """What says where coarse logits and fine features of a segmentor come from: itself, or its Taps."""
    if hasattr(segmentor, "forward_features"):
        if taps is not None:
            raise ValueError(
                f"taps are for models of others, {type(segmentor).__name__} has forward_features; leave them out"
            )
        return segmentor
    taps = {} if taps is None else taps
    unknown = sorted(map(str, set(taps) - {"coarse", "fine"})) if isinstance(taps, dict) else [repr(taps)]
    if unknown:
        raise ValueError(f"taps takes coarse: PATH and fine: [PATH, ...], got {', '.join(unknown)}")
    return Taps(segmentor, **taps)


def _check_source(source, num_classes, in_channels):
    needed = ("num_classes", "coarse_stride", "fine_channels")
    missing = [name for name in needed if not hasattr(source, name)]
    if missing:
        raise ValueError(
            f"segmentor {type(source).__name__} has forward_features(x), but lacks the attributes {', '.join(missing)}"
        )
    if num_classes is not None and num_classes != source.num_classes:
        raise ValueError(
            f"num_classes is {num_classes} for PointRendSeg and {source.num_classes} for its segmentor; "
            "set both to the dataset's"
        )
    if in_channels is not None and getattr(source, "in_channels", in_channels) != in_channels:
        raise ValueError(
            f"the images have {in_channels} channels, the segmentor takes {source.in_channels}; "
            f"set in_channels: {in_channels} in segmentor.backbone"
        )
