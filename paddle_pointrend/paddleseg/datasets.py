"""Checks of a dataset that find a mistake before the work, and name the file."""

import multiprocessing
import os
import pathlib
import sys
import threading
import time
import traceback

import cv2
import numpy as np
import paddle

from paddle_pointrend.errors import UsageError, one_line


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
    waits for its next batch for ever. With them the trainer ends, but in an error that says nothing of the sample.
    Anything but reading samples is passed on to the dataset.
    """

    def __init__(self, dataset, num_workers=0):
        self.dataset = dataset
        self._endings = None
        if num_workers:
            self._endings = multiprocessing.SimpleQueue()
            threading.Thread(target=_end_when_told, args=[self._endings], daemon=True).start()

    def __getitem__(self, index):
        try:
            return read_sample(self.dataset, index)
        except Exception as error:
            ending = (1, traceback.format_exc().rstrip())
            if isinstance(error, UsageError):
                ending = (2, f"paddle-pointrend train: error: {one_line(error)}")
            if paddle.io.get_worker_info() is not None:
                self._endings.put(ending)
                _wait_for_the_parents_end()
            if threading.current_thread() is threading.main_thread():
                raise
            _end(*ending)

    def __len__(self):
        return len(self.dataset)

    def __getattr__(self, name):
        if name == "dataset":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _end_when_told(endings):
    _end(*endings.get())


def _end(code, message):
    """Ends the process from a thread other than the main one, which waits inside Paddle and cannot be told."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    for worker in multiprocessing.active_children():  # one whose queue is full would wait for ever
        worker.kill()
    os._exit(code)


def _wait_for_the_parents_end():
    """In a worker process. If it went on or ended first, Paddle would end its parent in a traceback."""
    parent = multiprocessing.parent_process().pid
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)
