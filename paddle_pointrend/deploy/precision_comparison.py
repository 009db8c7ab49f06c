"""Compares an exported network in int8 with the same in float32: labels that differ, and time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from paddle_pointrend.deploy.deploy_file import DeployFile
from paddle_pointrend.deploy.runtimes import RUNTIMES, installed_runtimes, load_runtime, runtimes_computing_in

_WARM_UP, _ROUNDS = 3, 7  # runtimes compile for a size that comes the third time


def compare_precisions(
    float32: str | os.PathLike, int8: str | os.PathLike, images: Sequence[np.ndarray]
) -> list[dict[str, str | float]]:
    """Runs both exported folders on images in each installed runtime that computes in int8, the fastest first.

    Args:
        float32, int8: two folders of one network.
        images: inputs of the network, float32 [1, C, H, W].

    Returns:
        A dict for each runtime: "runtime", its name; "different_labels", the share of pixels; "float32_seconds" and
        "int8_seconds" for the first image, medians of rounds in which one follows the other; "time", int8's over
        float32's, the median of the rounds' ratios.
    """
    names = [name for name in runtimes_computing_in("int8") if name in installed_runtimes()]
    file_format = DeployFile.read(int8).format
    return [_compare(name, float32, int8, images) for name in names if RUNTIMES[name].format == file_format]


def _compare(name, float32, int8, images):
    networks = [load_runtime(name, folder) for folder in (float32, int8)]
    different = []
    for image in images:
        expected, found = (_labels(network(image)) for network in networks)
        different.append((expected != found).mean())
    for _ in range(_WARM_UP):
        for network in networks:
            network(images[0])
    seconds = np.array([[_seconds(network, images[0]) for network in networks] for _ in range(_ROUNDS)])
    float32_seconds, int8_seconds = np.median(seconds, axis=0)
    return {
        "runtime": name,
        "different_labels": float(np.mean(different)),
        "float32_seconds": float(float32_seconds),
        "int8_seconds": float(int8_seconds),
        "time": float(np.median(seconds[:, 1] / seconds[:, 0])),
    }


def _labels(output):
    return output.argmax(axis=1) if output.ndim == 4 else output


def _seconds(network, image):
    start = time.perf_counter()
    network(image)
    return time.perf_counter() - start
