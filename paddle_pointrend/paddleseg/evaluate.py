"""Measures a model's predictions on a dataset."""

import numpy as np
import paddle
from paddle import nn
from tqdm import tqdm

from paddle_pointrend.cli.inference import predict_logits
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.paddleseg.datasets import read_sample
from paddle_pointrend.paddleseg.distributed import rank_and_size


def evaluate_predictions(model, dataset, options, *, num_workers=0, progress=True):
    """Measures every prediction of a model on a dataset, in one forward pass an image.

    Under PaddlePaddle's launcher each process takes a share of the images and all get the sum of the counts.

    Args:
        model: in eval mode. One with `predict_both` (PointRendSeg) gives "coarse" and "refined", any other
            "prediction".
        dataset: PaddleSeg's, in mode val.
        options: of `inference_options`.
        num_workers: processes that read data.
        progress: whether to show a progress bar, in the first process.

    Returns:
        dict from a prediction's name to SegmentationMetrics.summary().

    Raises:
        UsageError: a file that cannot be read, labels or a class count that do not fit.
    """
    rank, size = rank_and_size()
    if size > 1 and not paddle.distributed.is_initialized():
        paddle.distributed.init_parallel_env()
    columns, layer = ["prediction"], model
    if hasattr(model, "predict_both"):
        columns, layer = ["coarse", "refined"], _BothPredictions(model)
    metrics = {name: SegmentationMetrics(dataset.num_classes, dataset.ignore_index) for name in columns}
    share = paddle.io.Subset(_Readable(dataset), list(range(rank, len(dataset), size)))
    loader = paddle.io.DataLoader(share, batch_size=1, num_workers=num_workers, return_list=True)
    with paddle.no_grad():
        counted = 0
        for data in tqdm(loader, "evaluating", unit="image", disable=not progress or rank > 0):
            if "mistake" in data:
                read_sample(dataset, int(data["mistake"]))
            logits = predict_logits(layer, data["img"], data["trans_info"], options)
            _count(metrics, logits, data["label"], dataset.num_classes)
            counted += 1
    if counted != len(share):
        raise RuntimeError(f"Paddle's DataLoader ended after {counted} of {len(share)} images")
    if size > 1:
        for metric in metrics.values():
            metric.load_state({key: _sum_over_processes(count) for key, count in metric.state().items()})
    return {name: metric.summary() for name, metric in metrics.items()}


class _BothPredictions(nn.Layer):
    """Coarse and refined logits side by side in one output: PaddleSeg's inference treats both alike."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return [paddle.concat(self.model.predict_both(x), axis=1)]


class _Readable(paddle.io.Dataset):
    """A dataset that hands over the index of a sample with a mistake instead of raising.

    An exception in Paddle's reading thread ends the loop as if there were no more samples, or hangs it.
    """

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, index):
        try:
            return read_sample(self.dataset, index)
        except Exception:  # raised again, with all it says, in the main thread
            return {"mistake": np.array(index)}

    def __len__(self):
        return len(self.dataset)


def _count(metrics, logits, label, num_classes):
    if logits.shape[1] != len(metrics) * num_classes:
        raise UsageError(
            f"the model predicts {logits.shape[1] // len(metrics)} classes, the dataset has {num_classes}; "
            "set both num_classes to the same"
        )
    label = label.numpy().squeeze((0, 1))
    if list(logits.shape[2:]) != list(label.shape):
        raise UsageError(f"an image's prediction has size {logits.shape[2:]}, its label {list(label.shape)}")
    for metric, part in zip(metrics.values(), paddle.split(logits, len(metrics), axis=1)):
        metric.update(part.argmax(axis=1).squeeze(0).numpy(), label)


def _sum_over_processes(count):
    total = paddle.to_tensor(count)
    paddle.distributed.all_reduce(total)
    return total.numpy()
