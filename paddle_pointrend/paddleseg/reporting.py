"""The report of a run: a dataset measured, the images that refinement changes most, one HTML file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from paddle import nn
from paddleseg.datasets import Dataset

from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import Sample, SegmentationMetrics, comparison_figure, write_report
from paddle_pointrend.files import write_whole
from paddle_pointrend.inference import ONE_PASS, InferenceOptions
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.paddleseg.curves import read_curves
from paddle_pointrend.paddleseg.distributed import rank_and_size
from paddle_pointrend.paddleseg.evaluation import evaluate_predictions, trace_sample

FILES = ("report.html", "difference.png")


@dataclasses.dataclass
class RunMeasures:
    """What `measure_run` found.

    summaries: of `evaluate_predictions`. confusions: int64 [K, K] for "coarse" and "refined". boundary_ious: for each
    image [coarse, refined], the boundaries of all classes counted together.
    """

    summaries: dict[str, dict]
    confusions: dict[str, np.ndarray]
    boundary_ious: np.ndarray

    def most_changed(self, count: int) -> list[int]:
        """Lists images, the `count` that gain most boundary IoU and the `count` that lose most, none twice."""
        gains = np.nan_to_num(self.boundary_ious[:, 1] - self.boundary_ious[:, 0])
        order = np.argsort(-gains, kind="stable")
        better = [int(i) for i in order[:count] if gains[i] > 0]
        worse = [int(i) for i in order[::-1][:count] if gains[i] < 0]
        return [*better, *worse] or [int(i) for i in order[:count]]


def check_reportable(model: nn.Layer) -> PointRendSeg:
    """Returns the model. UsageError for one without two predictions to compare, and under PaddlePaddle's launcher."""
    if not isinstance(model, PointRendSeg):
        raise UsageError(f"--report compares coarse with refined, and a {type(model).__name__} has one prediction")
    if rank_and_size()[1] > 1:
        raise UsageError("--report needs all images in one process: run val without the launcher")
    return model


def measure_run(
    model: PointRendSeg, dataset: Dataset, options: InferenceOptions = ONE_PASS, *, num_workers: int = 0
) -> RunMeasures:
    """Measures a model as `evaluate_predictions`, whose arguments these are, and keeps what a report shows."""
    confusions = {name: np.zeros((dataset.num_classes,) * 2, np.int64) for name in ("coarse", "refined")}
    boundary_ious = np.zeros((len(dataset), 2))

    def keep(index: int, metrics: dict[str, SegmentationMetrics]) -> None:
        for name, metric in metrics.items():
            confusions[name] += metric.state()["confusion"]
        boundary_ious[index] = [metrics[name].pooled_boundary_iou() for name in ("coarse", "refined")]

    summaries = evaluate_predictions(model, dataset, options, num_workers=num_workers, on_image=keep)
    return RunMeasures(summaries, confusions, boundary_ious)


def write_run_report(
    folder: str | os.PathLike,
    model: PointRendSeg,
    dataset: Dataset,
    measures: RunMeasures,
    *,
    title: str,
    metadata: Mapping[str, object],
    class_names: Sequence[str],
    palette: np.ndarray,
    log_dir: str | os.PathLike,
    num_images: int = 4,
) -> None:
    """Writes report.html, and difference.png, the picture of the image that gains most.

    Args:
        folder: where to write; it exists.
        model, dataset: that were measured. measures: of `measure_run`.
        title, metadata, class_names, palette: as of `write_report`.
        log_dir: the training's --save_dir, whose curves are shown if it has any.
        num_images: images shown of those that gain, and as many of those that lose.

    Raises:
        UsageError: a file that cannot be read.
    """
    chosen = measures.most_changed(num_images)
    samples = [_noted(trace_sample(model, dataset, i), *measures.boundary_ious[i]) for i in chosen]
    write_report(
        Path(folder, FILES[0]),
        title=title,
        metadata=metadata,
        samples=samples,
        summaries=measures.summaries,
        class_names=class_names,
        palette=palette,
        curves=read_curves(log_dir),
        confusions=measures.confusions,
        ignore_index=dataset.ignore_index,
    )
    _, picture = cv2.imencode(".png", comparison_figure(samples[0], palette)[..., ::-1])
    write_whole(Path(folder, FILES[1]), picture.tobytes())


def _noted(sample: Sample, coarse: float, refined: float) -> Sample:
    note = f"Boundary IoU {100 * coarse:.1f} coarse, {100 * refined:.1f} refined ({100 * (refined - coarse):+.1f})."
    return dataclasses.replace(sample, note=note)
