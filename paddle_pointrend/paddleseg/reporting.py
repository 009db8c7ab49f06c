"""The report of a run with label maps: a dataset measured, the images that tell most, one HTML file."""

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
from paddle_pointrend.evaluation.confusion import mean_iou
from paddle_pointrend.files import write_whole
from paddle_pointrend.inference import ONE_PASS, InferenceOptions
from paddle_pointrend.paddleseg.curves import read_curves
from paddle_pointrend.paddleseg.distributed import rank_and_size
from paddle_pointrend.paddleseg.evaluation import evaluate_predictions, trace_sample

PAGE, PICTURE = "report.html", "difference.png"


@dataclasses.dataclass
class RunMeasures:
    """What `measure_run` found.

    summaries: of `evaluate_predictions`. confusions: int64 [K, K] of each prediction. image_scores: [images,
    predictions], of coarse and refined the boundary IoU, the boundaries of all classes counted together, of a single
    prediction the mean IoU of the image's classes, NaN where nothing is judged.
    """

    summaries: dict[str, dict]
    confusions: dict[str, np.ndarray]
    image_scores: np.ndarray


def chosen_images(scores: np.ndarray, count: int) -> list[int]:
    """Lists the images to show, none twice.

    Args:
        scores: [images, predictions], NaN where an image has none.
        count: of two predictions the images that gain most, and as many that lose most; of one those with the highest
            scores, and as many with the lowest.
    """
    if scores.shape[1] == 1:
        order = [int(i) for i in np.argsort(-scores[:, 0], kind="stable") if not np.isnan(scores[i, 0])]
        return [*order[:count], *order[count:][-count:][::-1]] or list(range(min(count, len(scores))))
    gains = np.nan_to_num(scores[:, 1] - scores[:, 0])
    order = [int(i) for i in np.argsort(-gains, kind="stable")]
    better = [i for i in order[:count] if gains[i] > 0]
    worse = [i for i in order[::-1][:count] if gains[i] < 0]
    return [*better, *worse] or order[:count]


def check_alone() -> None:
    """Raises UsageError under PaddlePaddle's launcher: a report needs all images in one process."""
    if rank_and_size()[1] > 1:
        raise UsageError("--report needs all images in one process: run val without the launcher")


def measure_run(
    model: nn.Layer, dataset: Dataset, options: InferenceOptions = ONE_PASS, *, num_workers: int = 0
) -> RunMeasures:
    """Measures a model as `evaluate_predictions`, whose arguments these are, and keeps what a report shows.

    Raises:
        UsageError: a dataset without `file_list`, which the report's pictures are read from; as `evaluate_predictions`.
    """
    if not hasattr(dataset, "file_list"):
        raise UsageError(f"--report reads pictures from a dataset's file_list, which {type(dataset).__name__} lacks")
    confusions: dict[str, np.ndarray] = {}
    scores: dict[int, list[float]] = {}

    def keep(index: int, metrics: dict[str, SegmentationMetrics]) -> None:
        for name, metric in metrics.items():
            confusions[name] = confusions.get(name, 0) + metric.state()["confusion"]
        if len(metrics) == 1:
            (metric,) = metrics.values()
            scores[index] = [mean_iou(metric.state()["confusion"])]
        else:
            scores[index] = [metric.pooled_boundary_iou() for metric in metrics.values()]

    summaries = evaluate_predictions(model, dataset, options, num_workers=num_workers, on_image=keep)
    return RunMeasures(summaries, confusions, np.array([scores[i] for i in range(len(dataset))]))


def write_run_report(
    folder: str | os.PathLike,
    model: nn.Layer,
    dataset: Dataset,
    measures: RunMeasures,
    *,
    title: str,
    metadata: Mapping[str, object],
    class_names: Sequence[str],
    palette: np.ndarray,
    log_dir: str | os.PathLike,
    num_images: int = 4,
) -> list[str]:
    """Writes report.html, and of coarse and refined difference.png, the picture of the image that gains most.

    Args:
        folder: where to write; it exists.
        model, dataset: that were measured. measures: of `measure_run`.
        title, metadata, class_names, palette: as of `write_report`.
        log_dir: the training's --save_dir, whose curves are shown if it has any.
        num_images: images shown of those that gain (have the highest scores), and as many of those that lose.

    Returns:
        The names of the files.

    Raises:
        UsageError: a file that cannot be read.
    """
    chosen = chosen_images(measures.image_scores, num_images)
    samples = [_noted(trace_sample(model, dataset, i), measures.image_scores[i]) for i in chosen]
    refines = len(measures.summaries) == 2
    write_report(
        Path(folder, PAGE),
        title=title,
        metadata=metadata,
        samples=samples,
        summaries=measures.summaries,
        class_names=class_names,
        palette=palette,
        curves=read_curves(log_dir, refines=refines),
        confusions=measures.confusions,
        ignore_index=dataset.ignore_index,
    )
    if not refines:
        return [PAGE]
    _, picture = cv2.imencode(".png", comparison_figure(samples[0], palette)[..., ::-1])
    write_whole(Path(folder, PICTURE), picture.tobytes())
    return [PAGE, PICTURE]


def _noted(sample: Sample, scores: np.ndarray) -> Sample:
    return dataclasses.replace(sample, note=score_note("Boundary IoU" if len(scores) == 2 else "Mean IoU", scores))


def score_note(name: str, scores: np.ndarray) -> str:
    """Tells an image's scores, of one prediction or of two, in words."""
    if len(scores) == 1:
        return f"{name} {100 * scores[0]:.1f}."
    coarse, refined = scores
    return f"{name} {100 * coarse:.1f} coarse, {100 * refined:.1f} refined ({100 * (refined - coarse):+.1f})."
