"""Measures a model's predictions on a dataset."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import paddle
from paddle import nn
from paddleseg.core import infer
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.datasets import Dataset
from paddleseg.utils import logger
from tqdm import tqdm

from paddle_pointrend.data.images import read_image
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.figures import Sample, SubdivisionStep
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.inference import ONE_PASS, InferenceOptions, label_maps, predict_logits, undo_transforms
from paddle_pointrend.models.pointrend import PointRendSeg, Trace
from paddle_pointrend.paddleseg.configs import as_config, build, is_instance_config, make_builder, path_of
from paddle_pointrend.paddleseg.datasets import check_files, describe_missing, read_sample
from paddle_pointrend.paddleseg.distributed import join_processes, rank_and_size
from paddle_pointrend.paddleseg.instance_data import build_instance_dataset
from paddle_pointrend.paddleseg.instance_evaluation import evaluate_instances
from paddle_pointrend.paddleseg.models import load_model
from paddle_pointrend.paddleseg.preprocessing import channels_first


def evaluate(
    config: str | os.PathLike | Config,
    model: nn.Layer | str | os.PathLike,
    opts: Sequence[str] = (),
    *,
    options: InferenceOptions = ONE_PASS,
    num_workers: int = 0,
    progress: bool = True,
) -> dict[str, dict]:
    """Measures a model on a config's val_dataset.

    Args:
        config: a YAML file, or what `load_config` read.
        model: a layer, which is put into eval mode, or weights as `load_model` takes them.
        opts: changes of the YAML file, "KEY=VALUE" strings.
        options: test-time augmentation and sliding window; the config's test_config does not count. Of labels only.
        num_workers: processes that read data. Of labels only.
        progress: whether to show a progress bar.

    Returns:
        dict from a prediction's name to SegmentationMetrics.summary(), numbers from 0 to 1: "coarse" and "refined" of a
        PointRendSeg, "prediction" of any other model. Of a model that finds instances what `evaluate_instances` gives.

    Raises:
        UsageError, CheckpointError: as of `load_model` and `evaluate_predictions`; a dataset that is not there.
    """
    config = as_config(config, opts)
    if not isinstance(model, nn.Layer):
        model = load_model(config, model)
    model.eval()
    if is_instance_config(config):
        dataset = build_instance_dataset(make_builder(config), config, "val_dataset")
        return evaluate_instances(model, dataset, progress=progress)
    dataset = build(SegBuilder(config), path_of(config), "val_dataset")
    check_files(dataset, "val_dataset")
    return evaluate_predictions(model, dataset, options, num_workers=num_workers, progress=progress)


def evaluate_predictions(
    model: nn.Layer,
    dataset: Dataset,
    options: InferenceOptions = ONE_PASS,
    *,
    num_workers: int = 0,
    progress: bool = True,
    on_image: Callable[[int, dict[str, SegmentationMetrics]], None] | None = None,
) -> dict[str, dict]:
    """Measures every prediction of a model on a dataset, in one forward pass an image.

    Under PaddlePaddle's launcher each process takes a share of the images and all get the sum of the counts.

    Args:
        model: in eval mode. One with `predict_both` (PointRendSeg) gives "coarse" and "refined", any other
            "prediction".
        dataset: PaddleSeg's, in mode val.
        options: augmentation and sliding window.
        num_workers: processes that read data.
        progress: whether to show a progress bar, in the first process.
        on_image: is told the index of each image that this process measures, and each prediction's measures of it.

    Returns:
        dict from a prediction's name to SegmentationMetrics.summary().

    Raises:
        UsageError: a file that cannot be read, labels or a class count that do not fit.
    """
    rank, size = rank_and_size()
    join_processes()
    columns, layer = ["prediction"], channels_first(model)
    if hasattr(model, "predict_both"):
        columns, layer = ["coarse", "refined"], _BothPredictions(model)
    metrics = {name: SegmentationMetrics(dataset.num_classes, dataset.ignore_index) for name in columns}
    share = paddle.io.Subset(_Readable(dataset), list(range(rank, len(dataset), size)))
    loader = paddle.io.DataLoader(share, batch_size=1, num_workers=num_workers, return_list=True)
    with paddle.no_grad():
        counted, ignores = 0, False
        for data in tqdm(loader, "evaluating", unit="image", disable=not progress or rank > 0):
            if "mistake" in data:
                read_sample(dataset, int(data["mistake"]))
            logits = _logits(layer, data["img"], data["trans_info"], options)
            of_image = _measure(logits, data["label"], dataset, columns)
            for name, metric in metrics.items():
                metric.merge(of_image[name])
            if on_image is not None:
                on_image(rank + counted * size, of_image)
            ignores = ignores or bool((data["label"] == dataset.ignore_index).any())
            counted += 1
    if counted != len(share):
        raise RuntimeError(f"Paddle's DataLoader ended after {counted} of {len(share)} images")
    if size > 1:
        for metric in metrics.values():
            metric.load_state({key: _sum_over_processes(count) for key, count in metric.state().items()})
    if rank == 0 and ignores:
        _warn_of_missing_classes(next(iter(metrics.values())), len(dataset))
    return {name: metric.summary() for name, metric in metrics.items()}


@paddle.no_grad()
def trace_sample(model: nn.Layer, dataset: Dataset, index: int) -> Sample:
    """Predicts one image: of a PointRendSeg coarse, refined, and the points that each subdivision step chose.

    Args:
        model: in eval mode; of any other one its only prediction is kept.
        dataset: PaddleSeg's, in mode val, with `file_list`; what its transforms do to the size is undone, as in the
            evaluation.
        index: of the image in the dataset.

    Raises:
        UsageError: a file that cannot be read, or labels that do not fit.
    """
    data = read_sample(dataset, index)
    image = paddle.to_tensor(data["img"]).unsqueeze(0)
    trace = model.trace(image) if isinstance(model, PointRendSeg) else None
    outputs = [_first(channels_first(model)(image))] if trace is None else [trace.coarse, trace.refined]
    predictions = [
        infer.reverse_transform(logits, data["trans_info"], mode="bilinear").argmax(1)[0].numpy() for logits in outputs
    ]
    image_path, label_path = dataset.file_list[index]
    return Sample(
        name=pathlib.Path(image_path).stem.removesuffix("_leftImg8bit"),
        image=read_image(image_path, whole=False),
        truth=read_label(label_path),
        coarse=None if trace is None else predictions[0],
        refined=predictions[-1],
        steps=[] if trace is None else shown_steps(trace, data["trans_info"], model.size_divisor),
    )


def shown_steps(trace: Trace, trans_info: Sequence, size_divisor: int) -> list[SubdivisionStep]:
    """Lists the points that each step of a trace predicted again, over the image as it was before its transforms.

    Args:
        trace: of a PointRendSeg on one image, with its steps.
        trans_info: what PaddleSeg's transforms noted, as of `undo_transforms`.
        size_divisor: of the PointRendSeg.

    Returns:
        The steps; points in what was padded, to the right or below, have coordinates above 1.
    """
    sides = np.array(trace.refined.shape[:1:-1], float)  # width, height
    times = -(-sides // size_divisor) * size_divisor / sides
    for kind, size in reversed(trans_info):
        before = np.array(size[::-1], float)
        if kind == "padding":
            times *= sides / before
        sides = before
    steps = []
    for step in trace.steps or []:
        coords = step.coords[0].numpy()
        if step.mask is not None:  # of what refine_threshold left as it was
            coords = coords[step.mask[0].numpy()]
        steps.append(SubdivisionStep(coords * times, tuple(step.logits.shape[2:])))
    return steps


def _warn_of_missing_classes(metric, num_labels):
    missing = np.flatnonzero(metric.state()["confusion"].sum(axis=1) == 0).tolist()
    if missing:
        logger.warning(f"val_dataset: {describe_missing(missing, metric.ignore_index, f'{num_labels} labels')}")


class _BothPredictions(nn.Layer):
    """Coarse and refined logits side by side in one output: augmentation and windows treat both alike."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return [paddle.concat(self.model.predict_both(x), axis=1)]


class _Readable(paddle.io.Dataset):
    """A dataset that hands over the index of a sample with a mistake instead of raising.

    An exception in Paddle's reading thread ends the loop as if there were no more samples, or hangs it. After a mistake
    nothing more is read: the thread reads ahead, and what OpenCV prints of a later file would follow the error.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self._mistake = None

    def __getitem__(self, index):
        if self._mistake is None:
            try:
                return read_sample(self.dataset, index)
            except Exception:  # raised again, with all it says, in the main thread
                self._mistake = index
        return {"mistake": np.array(self._mistake)}

    def __len__(self):
        return len(self.dataset)


def _logits(layer, image, trans_info, options):
    """Logits [1, K, H, W] at the size that the image had before its transforms.

    An array, or, of one forward pass over the whole image, a tensor: on a GPU they stay there.
    """
    if not options.augments and not options.slides_over(*image.shape[2:]):
        return infer.reverse_transform(_first(layer(image)), trans_info, mode="bilinear")

    def run(images):
        return _first(layer(paddle.to_tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))).numpy()

    logits = predict_logits(run, image.numpy().transpose(0, 2, 3, 1), options)
    return undo_transforms(logits, trans_info, image.shape[2:])


def _first(outputs):
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def _measure(logits, label, dataset, columns):
    """dict from each of `columns` to the measures of one image; their logits lie side by side."""
    num_classes = dataset.num_classes
    if logits.shape[1] != len(columns) * num_classes:
        raise UsageError(
            f"the model predicts {logits.shape[1] // len(columns)} classes, the dataset has {num_classes}; "
            "set both num_classes to the same"
        )
    label = label.numpy().squeeze((0, 1))
    if list(logits.shape[2:]) != list(label.shape):
        raise UsageError(f"an image's prediction has size {list(logits.shape[2:])}, its label {list(label.shape)}")
    metrics = {name: SegmentationMetrics(num_classes, dataset.ignore_index) for name in columns}
    for i, metric in enumerate(metrics.values()):
        part = logits[:, i * num_classes : (i + 1) * num_classes]
        labels = label_maps(part) if isinstance(part, np.ndarray) else part.argmax(axis=1).numpy()
        metric.update(labels[0], label)
    return metrics


def _sum_over_processes(count):
    total = paddle.to_tensor(count)
    paddle.distributed.all_reduce(total)
    return total.numpy()
