"""Adaptive subdivision, section 3.1 of the paper ("Inference"): double the map, pick its most uncertain points, predict
them again, put the predictions in; until the map has the image's resolution.

N: images, K: classes, H and W: height and width of a map, P: points of one image.

Source: Kirillov et al., "PointRend: Image Segmentation as Rendering" (CVPR 2020).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import paddle

from paddle_pointrend.points.generic import Execution
from paddle_pointrend.points.selection import select_subdivision_points


class SubdivisionStep(NamedTuple):
    """One step before its points are put in: the doubled map, and what is predicted at its most uncertain points.

    logits: [N, K, H, W]; may have impossible classes at the end, see `Execution.pad_classes`.
    indices: int64 [N, P], y * W + x.
    coords: [N, P, 2], (x, y) in [0, 1].
    point_logits: [N, K, P].
    mask: bool [N, P], the points that are to be replaced; None for all.
    """

    logits: paddle.Tensor
    indices: paddle.Tensor
    coords: paddle.Tensor
    point_logits: paddle.Tensor
    mask: paddle.Tensor | None


class Subdivision:
    """The adaptive subdivision of one batch.

    Args:
        predict_points: point_coords [N, P, 2] -> logits [N, K, P].
        execution: how it is executed.
        threshold: points whose margin, best minus second-best logit, is above this stay as they are; None for none.
        upsamples: False for a map that has the image's resolution already: it keeps its size.
    """

    def __init__(
        self,
        predict_points: Callable[[paddle.Tensor], paddle.Tensor],
        execution: Execution,
        *,
        threshold: float | None = None,
        upsamples: bool = True,
    ) -> None:
        self.predict_points = predict_points
        self.execution = execution
        self.threshold = threshold
        self.upsamples = upsamples

    def run(
        self, coarse_logits: paddle.Tensor, points_of_steps: Iterable[int], steps: list | None = None
    ) -> paddle.Tensor:
        """Refines a coarse map.

        Args:
            coarse_logits: [N, K, h, w].
            points_of_steps: the number of points of each step.
            steps: a list to which every SubdivisionStep is appended, its logits the refined ones.

        Returns:
            [N, K, H, W].
        """
        logits = self.after(coarse_logits, points_of_steps, steps)
        return self.execution.crop_classes(logits, coarse_logits.shape[1])

    def after(
        self, coarse_logits: paddle.Tensor, points_of_steps: Iterable[int], steps: list | None = None
    ) -> paddle.Tensor:
        """Runs steps, as `run` does, and gives the map that a further `step` takes."""
        logits = self.execution.pad_classes(coarse_logits)
        for num_points in points_of_steps:
            step = self.step(logits, num_points)
            logits = self.put(step)
            if steps is not None:
                steps.append(step._replace(logits=logits))
        return logits

    def step(self, logits: paddle.Tensor, num_points: int) -> SubdivisionStep:
        """Doubles a map [N, K, h, w], picks its most uncertain points and predicts them again."""
        logits = self.execution.upsample(logits) if self.upsamples else logits.clone()  # `put` may write into it
        uncertainty = self.execution.uncertainty(logits)
        indices, coords, mask = select_subdivision_points(uncertainty, num_points, self.threshold)
        return SubdivisionStep(logits, indices, coords, self.predict_points(coords), mask)

    def put(self, step: SubdivisionStep) -> paddle.Tensor:
        """Puts a step's predictions into its map, which may be changed itself: [N, K, H, W]."""
        return self._put(step, step.logits, step.point_logits)

    def put_labels(self, step: SubdivisionStep) -> paddle.Tensor:
        """Gives the best classes, int64 [N, H, W], of what `put` gives, without a copy of the logits."""
        labels, point_labels = (x.argmax(axis=1, keepdim=True) for x in (step.logits, step.point_logits))
        return self._put(step, labels, point_labels).squeeze(1)

    def _put(self, step, target, values):
        if step.mask is not None:
            places = step.indices.unsqueeze(1).expand([-1, target.shape[1], -1])
            old = paddle.take_along_axis(target.flatten(2), places, axis=2, broadcast=False)[:, : values.shape[1]]
            values = paddle.where(step.mask.unsqueeze(1), values.astype(target.dtype), old)
        return self.execution.write_points(target, step.indices, values)
