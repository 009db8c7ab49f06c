"""Chooses points: to train on, and to predict again in a subdivision step (section 3.1 of the paper).

Shape letters and coordinates as in sampling.py; K: classes.

Source: Kirillov et al., "PointRend: Image Segmentation as Rendering" (CVPR 2020), sections 3.1 to 3.3; the authors'
detectron2 projects/PointRend/point_rend/point_features.py.
"""

from collections.abc import Callable, Sequence

import paddle

from paddle_pointrend.option_checks import check_counts
from paddle_pointrend.points.execution import choose_execution
from paddle_pointrend.points.sampling import point_sample


def calculate_uncertainty(logits: paddle.Tensor) -> paddle.Tensor:
    """Measures how unsure a prediction is: its second-best minus its best logit (section 3.1 of the paper).

    Args:
        logits: float tensor [N, K, ...].

    Returns:
        [N, 1, ...], <= 0, the dtype of logits; 0 is most uncertain. For one class (a sigmoid's logit) -|logit|.

    Raises:
        ValueError: fewer than two axes, or no class.
    """
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must be [N, K, ...] with K >= 1, got shape {list(logits.shape)}")
    return choose_execution(logits).uncertainty(logits)


@paddle.no_grad()
def sample_training_points(
    logits: paddle.Tensor,
    num_points: int,
    oversample_ratio: float = 3.0,
    importance_sample_ratio: float = 0.75,
    *,
    uncertainty_func: Callable[[paddle.Tensor], paddle.Tensor] | None = None,
) -> paddle.Tensor:
    """Chooses the points to train on: mostly uncertain ones, the rest uniform (section 3.1, "Training").

    floor(k * num_points) candidates are drawn uniformly, of these the floor(beta * num_points) most uncertain
    are kept, and the remaining points are drawn uniformly anew. Uncertainty is computed on the logits sampled
    at the candidates: sampling a map of uncertainties instead would call a point between two sure but
    different pixels sure, though the logits interpolated there are nearly equal.

    Args:
        logits: float tensor [N, K, H, W], coarse.
        num_points: P >= 1.
        oversample_ratio: k >= 1.
        importance_sample_ratio: beta in [0, 1].
        uncertainty_func: logits [N, K, number of candidates] -> [N, 1, number of candidates], the larger the more
            uncertain; None for calculate_uncertainty.

    Returns:
        float32 [N, P, 2], (x, y) in [0, 1), without gradient; random numbers of paddle.seed's generator.

    Raises:
        ValueError: an argument out of its range.
    """
    check_sampling_options(num_points, oversample_ratio, importance_sample_ratio)
    uncertainty_of = uncertainty_func or calculate_uncertainty  # to_static takes no function as a default
    num_images = logits.shape[0]
    num_uncertain = int(importance_sample_ratio * num_points)
    num_uniform = num_points - num_uncertain
    chosen = []
    if num_uncertain:
        candidates = paddle.rand([num_images, int(oversample_ratio * num_points), 2], dtype="float32")
        uncertainty = uncertainty_of(point_sample(logits, candidates)).squeeze(1)
        indices = paddle.topk(uncertainty, num_uncertain, axis=1)[1]
        chosen.append(paddle.take_along_axis(candidates, indices.unsqueeze(2), axis=1))
    if num_uniform:
        chosen.append(paddle.rand([num_images, num_uniform, 2], dtype="float32"))
    return paddle.concat(chosen, axis=1)


def check_sampling_options(num_points: int, oversample_ratio: float, importance_sample_ratio: float) -> None:
    """Raises ValueError for options of sample_training_points that are out of their range."""
    check_counts(num_points=num_points)
    if oversample_ratio < 1:
        raise ValueError(f"oversample_ratio must be at least 1, got {oversample_ratio}")
    if not 0 <= importance_sample_ratio <= 1:
        raise ValueError(f"importance_sample_ratio must lie in [0, 1], got {importance_sample_ratio}")


def select_uncertain_points(
    uncertainty: paddle.Tensor, num_points: int, *, sorted: bool = True
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Finds the most uncertain pixels of a map, and their centres (section 3.1, "Inference").

    Args:
        uncertainty: float tensor [N, 1, H, W].
        num_points: points to take of each image; all H * W are taken where the map has fewer.
        sorted: False if the order does not matter, which takes a little less time.

    Returns:
        indices: int64 [N, P], y * W + x, most uncertain first if sorted; exact for every H * W below 2^63.
        coords: float32 [N, P, 2], the pixels' centres as (x, y) in [0, 1].

    Raises:
        ValueError: wrong rank or number of points.
    """
    indices = _most_uncertain(uncertainty, num_points, sorted)
    return indices, pixel_centres(indices, uncertainty.shape[2:])


def select_subdivision_points(
    uncertainty: paddle.Tensor, num_points: int, threshold: float | None = None
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor | None]:
    """Finds the points of a subdivision step: those of select_uncertain_points, from the top of the map to its bottom.

    What lies together is read and written together: on maps larger than the processor's cache that halves the time of
    sampling.

    Args:
        uncertainty: float tensor [N, 1, H, W].
        num_points: as for select_uncertain_points.
        threshold: of the margin, best minus second-best logit, >= 0: points above it are left out. All images keep as
            many points as the one that keeps most, at least one. None takes all.

    Returns:
        indices, coords: as select_uncertain_points.
        mask: bool [N, P], the points that are to be replaced; None for all.
    """
    indices = _most_uncertain(uncertainty, num_points, sorted=threshold is not None)
    if threshold is not None:
        most = _within_threshold(uncertainty, indices, threshold).astype("int64").sum(axis=1).max().clip(min=1)
        indices = indices[:, : int(most) if paddle.in_dynamic_mode() else most]
    indices = paddle.sort(indices, axis=1)
    mask = None if threshold is None else _within_threshold(uncertainty, indices, threshold)
    return indices, pixel_centres(indices, uncertainty.shape[2:]), mask


def pixel_centres(indices: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
    """Turns indices int64 [N, P] of a map of (height, width) into coordinates float32 [N, P, 2]."""
    height, width = size
    columns = indices % width
    # Exported graphs divide whole numbers in float32, which has no odd ones above 2^24: a 4096 x 8192 map exceeds that.
    # The quotient is whole here, so that it is wrong by less than 1e-3 and right when rounded.
    rows = ((indices - columns).astype("float32") / width).round()
    x = columns.astype("float32") + 0.5
    y = rows + 0.5
    return paddle.stack([x / width, y / height], axis=2)


def _most_uncertain(uncertainty, num_points, sorted):
    """int64 [N, P]"""
    if uncertainty.ndim != 4 or uncertainty.shape[1] != 1:
        raise ValueError(f"uncertainty must be [N, 1, H, W], got shape {list(uncertainty.shape)}")
    check_counts(num_points=num_points)
    count = _at_most(num_points, uncertainty.shape[2] * uncertainty.shape[3])
    return paddle.topk(uncertainty.flatten(1), count, axis=1, sorted=sorted)[1]


def _at_most(num_points, num_pixels):
    if isinstance(num_pixels, int):
        return min(num_points, num_pixels)
    # Under to_static with dynamic sizes the number of pixels is a tensor.
    return paddle.minimum(paddle.full([], num_points, num_pixels.dtype), num_pixels)


def _within_threshold(uncertainty, indices, threshold):
    """bool [N, P]: which points' margins are at most the threshold."""
    return paddle.take_along_axis(uncertainty.flatten(1), indices, axis=1, broadcast=False) >= -threshold
