"""Checks PaddleSeg's datasets: a mistake is found before the work, and its file named."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pathlib
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import cv2
import numpy as np
import paddle
from paddleseg.datasets import Dataset
from paddleseg.utils import logger
from tqdm import tqdm

from paddle_pointrend.data.labels import read_label
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.paddleseg.distributed import rank_and_size
from paddle_pointrend.paddleseg.reading import CheckedCompose

_PADDING = 255  # what PaddleSeg's transforms fill labels up with


def check_files(dataset: Dataset, name: str) -> None:
    """Checks that every file that a dataset lists exists.

    Args:
        dataset: PaddleSeg's; one without `file_list` is not checked.
        name: for messages, as in the config.

    Raises:
        UsageError: files are missing; it names the first.
    """
    listed = [path for pair in getattr(dataset, "file_list", []) for path in pair if isinstance(path, str)]
    missing = [path for path in listed if not pathlib.Path(path).is_file()]
    if missing:
        raise UsageError(
            f"{name}: {len(missing)} of {len(listed)} listed files do not exist, the first is {missing[0]}"
        )


def listed_files(dataset: Dataset, index: int) -> list[str]:
    """Names the files of dataset[index], the image's first and the label's last; none of one without `file_list`."""
    files = dataset.file_list[index] if hasattr(dataset, "file_list") else []
    return [path for path in files if isinstance(path, str)]


def _number(index):
    return f"sample {index}"


def _is_readable(path):
    try:
        return cv2.imread(path, cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:  # a header that claims a size beyond OpenCV's limits
        return False


def read_sample(dataset: Dataset, index: int) -> dict[str, Any]:
    """Reads dataset[index] and checks its labels.

    Raises:
        UsageError: a file that cannot be read, or labels that are neither classes of the dataset nor ignore_index.
    """
    paths = listed_files(dataset, index)
    try:
        sample = dataset[index]
    except UsageError:
        raise
    except Exception as error:
        # A dataset with a reader of its own may fail in any way on a broken file; a fault of its code is shown whole.
        broken = [path for path in paths if not _is_readable(path)]
        if broken:
            raise UsageError(f"cannot read {broken[0]}") from error
        raise
    label = np.asarray(sample["label"])
    wrong = label[(label != dataset.ignore_index) & ((label < 0) | (label >= dataset.num_classes))]
    if wrong.size:
        name = paths[-1] if paths else _number(index)
        if paths and (wrong == _PADDING).all() and not (read_label(name) == _PADDING).any():
            raise UsageError(
                f"{name}: the transforms fill its label up with {_PADDING}, but ignore_index is "
                f"{dataset.ignore_index}; set label_padding_value: {dataset.ignore_index} in the transform"
            )
        raise UsageError(
            f"{name} has labels {np.unique(wrong).tolist()[:8]}, expected 0 to {dataset.num_classes - 1}"
            f" or ignore_index {dataset.ignore_index}; check num_classes and the label files"
        )
    return sample


def check_samples(dataset: Dataset, name: str, count: int = 8) -> None:
    """Reads `count` samples spread over the dataset: wrong labels are found before hours of training.

    Warns of classes that none of their labels has, where the ignored value is: masks of 0 and 255 may mean two classes.

    Raises:
        UsageError: as `read_sample`.
    """
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    _read_values(dataset, name, indices)
    # A crop may leave classes out, and padding is no value of the files.
    _check(_without_transforms(dataset), name, indices)


def check_every_sample(dataset: Dataset, name: str) -> None:
    """Reads every image to its end and every label whole, before any crop; of several processes each its share.

    Args:
        dataset: PaddleSeg's. One whose transforms are not PaddleSeg's is read with them, one without `file_list` not.
        name: for messages, as in the config.

    Raises:
        UsageError: as `check_files` and `read_sample`.
    """
    if not hasattr(dataset, "file_list"):
        return
    check_files(dataset, name)
    rank, size = rank_and_size()
    indices = tqdm(range(rank, len(dataset), size), desc=f"checks {name}", disable=rank > 0)
    _check(_without_transforms(dataset, whole=True), name, indices)
    logger.info(f"{name}: checked all {len(dataset)} samples")


def _without_transforms(dataset, whole=False):
    dataset = copy.copy(dataset)
    if isinstance(getattr(dataset, "transforms", None), CheckedCompose):
        dataset.transforms = dataset.transforms.without_transforms(whole=whole)
    return dataset


def _read_values(dataset, name, indices):
    values = set()
    for index in indices:
        try:
            values.update(np.unique(read_sample(dataset, index)["label"]).tolist())
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
    return values


def _check(dataset, name, indices):
    values = _read_values(dataset, name, indices)
    missing = sorted(set(range(dataset.num_classes)) - values)
    if missing and dataset.ignore_index in values:
        logger.warning(f"{name}: {describe_missing(missing, dataset.ignore_index, f'{len(indices)} labels looked at')}")


def describe_missing(missing: Sequence[int], ignore_index: int, labels: str) -> str:
    """Says in a line that classes occur in none of the labels where ignored pixels do."""
    shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    classes = f"class {shown} occurs" if len(missing) == 1 else f"classes {shown} occur"
    return (
        f"{classes} in none of the {labels}, but {ignore_index} does, which is ignored: if it is meant as a class, "
        "write that class into the labels"
    )


class StopOnError(paddle.io.Dataset):
    """Wraps a dataset for PaddleSeg's trainer: the process exits when a sample cannot be read.

    Without worker processes Paddle reads in a thread; an exception there ends that thread only, and the trainer
    waits for its next batch for ever. With them the trainer ends, but in an error that says nothing of the sample.
    Any other attribute is the dataset's.

    Args:
        dataset: PaddleSeg's.
        num_workers: the worker processes that the trainer starts. They report errors to this process, which exits.
        batch_size: samples that are put together, which have to have one size then.
    """

    def __init__(self, dataset: Dataset, num_workers: int = 0, batch_size: int = 1):
        self.dataset = dataset
        self._batch_size = batch_size
        self._first = None  # (file, sizes) of the first sample
        self._errors: multiprocessing.SimpleQueue | None = None  # (exit code, message) from a worker process
        if num_workers:
            self._errors = multiprocessing.SimpleQueue()
            threading.Thread(target=_exit_on_error, args=[self._errors], daemon=True).start()

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            sample = read_sample(self.dataset, index)
            if self._batch_size > 1:
                self._check_size(sample, next(iter(listed_files(self.dataset, index)), _number(index)))
            return sample
        except Exception as error:
            code, message = 1, traceback.format_exc().rstrip()
            if isinstance(error, UsageError):
                code, message = 2, f"paddle-pointrend train: error: {one_line(error)}"
            if self._errors is not None and paddle.io.get_worker_info() is not None:
                self._errors.put((code, message))
                _wait_until_parent_exits()
            if threading.current_thread() is threading.main_thread():
                raise
            _exit(code, message)

    def _check_size(self, sample, file):
        """Paddle's reading thread would end without a word where samples do not make a batch."""
        sizes = {key: list(np.shape(sample[key])) for key in ("img", "label")}
        self._first = self._first or (file, sizes)
        if sizes != self._first[1]:
            described = "{} is {img} with a label {label}".format
            raise UsageError(
                f"after the transforms {described(file, **sizes)}, {described(self._first[0], **self._first[1])}: "
                "a batch takes one size; crop or resize them, or set batch_size: 1"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name):
        if name == "dataset":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _exit_on_error(errors):
    """Waits, in a thread of the parent process, for the first error of a worker."""
    _exit(*errors.get())


def _exit(code: int, message: str) -> NoReturn:
    """Ends the process from a thread: the main one waits inside Paddle, where no exception reaches it."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    for worker in multiprocessing.active_children():  # one whose queue is full would wait for ever
        worker.kill()
    os._exit(code)


def _wait_until_parent_exits() -> NoReturn:
    """Waits in a worker process: if that went on or exited first, Paddle would end its parent in a traceback."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)
