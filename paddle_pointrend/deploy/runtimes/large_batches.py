"""Runs batches of large images one image at a time."""

from __future__ import annotations

import numpy as np

from paddle_pointrend.deploy.runtimes.size_watcher import Network

LARGE = 512 * 512  # pixels: from here on a processor is busy with one image, and a batch takes only more memory


def one_by_one(network: Network) -> Network:
    """Makes a network that takes images of at least LARGE pixels one by one; the results are the same."""

    def run(images: np.ndarray) -> np.ndarray:
        count, _, height, width = images.shape
        if count == 1 or height * width < LARGE:
            return network(images)
        first = network(images[:1])
        results = np.empty((count, *first.shape[1:]), first.dtype)
        results[:1] = first
        del first
        for i in range(1, count):
            results[i : i + 1] = network(images[i : i + 1])
        return results

    return run
