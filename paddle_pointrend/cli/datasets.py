"""Checks of a dataset that find a mistake before the work, and name the file."""

import os
import pathlib
import sys
import threading
import traceback

import cv2
import numpy as np
import paddle

from paddle_pointrend.cli.common import UsageError


def check_files(dataset, name):
    """Raises UsageError unless every file that the dataset lists exists."""
    listed = [path for pair in getattr(dataset, "file_list", []) for path in pair if isinstance(path, str)]
    missing = [path for path in listed if not pathlib.Path(path).is_file()]
    if missing:
        raise UsageError(
            f"{name}: {len(missing)} of {len(listed)} listed files do not exist, the first is {missing[0]}"
        )


def read_sample(dataset, index):
    """dataset[index]; a UsageError names a file that cannot be read or whose labels are not the dataset's."""
    paths = [path for path in dataset.file_list[index] if isinstance(path, str)]
    try:
        sample = dataset[index]
    except Exception as error:
        # A transform may fail in any way on an unreadable image; a fault of its own keeps its traceback.
        broken = [path for path in paths if cv2.imread(path, cv2.IMREAD_UNCHANGED) is None]
        if broken:
            raise UsageError(f"cannot read {broken[0]}") from error
        raise
    label = np.asarray(sample["label"])
    wrong = label[(label != dataset.ignore_index) & ((label < 0) | (label >= dataset.num_classes))]
    if wrong.size:
        raise UsageError(
            f"{paths[-1]} has labels {np.unique(wrong).tolist()[:8]}, expected 0 to {dataset.num_classes - 1}"
            f" or ignore_index {dataset.ignore_index}; check num_classes and the label files"
        )
    return sample


def check_samples(dataset, name, count=8):
    """Reads `count` samples spread over the dataset: wrong labels are found before hours of training."""
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int):
        try:
            read_sample(dataset, index)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error


class StopOnError(paddle.io.Dataset):
    """A dataset that ends the program when a sample cannot be read.

    Without worker processes Paddle reads in a thread; an exception there ends that thread only, and the trainer
    waits for its next batch for ever. Anything but reading samples is passed on to the dataset.
    """

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, index):
        try:
            return read_sample(self.dataset, index)
        except Exception as error:
            if threading.current_thread() is threading.main_thread():
                raise  # a worker process, which Paddle does watch
            if isinstance(error, UsageError):
                print(f"paddle-pointrend train: error: {error}", file=sys.stderr, flush=True)
            else:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(2 if isinstance(error, UsageError) else 1)

    def __len__(self):
        return len(self.dataset)

    def __getattr__(self, name):
        if name == "dataset":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.dataset, name)
