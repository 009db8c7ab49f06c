"""The log lines and curves of a training of instances, as PaddleSeg's trainer writes those of labels."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from paddleseg.utils import TimeAverager, calculate_eta, logger
from visualdl import LogWriter


class TrainingLog:
    """Collects what iterations give, and writes their means.

    Args:
        save_dir: where the curves go.
        iters: of the whole training.
        batch_size: images of an iteration.
        iters_per_epoch: iterations that go through the images once.
        use_vdl: whether to write curves for VisualDL.
    """

    def __init__(
        self, save_dir: str | os.PathLike, *, iters: int, batch_size: int, iters_per_epoch: int, use_vdl: bool
    ) -> None:
        self.iters, self.batch_size, self.iters_per_epoch = iters, batch_size, iters_per_epoch
        self._writer = LogWriter(str(save_dir)) if use_vdl else None
        self._reading, self._working = TimeAverager(), TimeAverager()
        self._losses: list[dict[str, float]] = []

    def note(self, losses: Mapping[str, float], reading: float, working: float) -> None:
        """Takes an iteration's losses, and the seconds that reading its batch and all of it took."""
        self._losses.append(dict(losses))
        self._reading.record(reading)
        self._working.record(working, num_samples=self.batch_size)

    def write(self, iteration: int, learning_rate: float) -> None:
        """Writes the means since the last line, as PaddleSeg's trainer does."""
        means = {name: float(np.mean([losses[name] for losses in self._losses])) for name in self._losses[0]}
        total, cost, read = sum(means.values()), self._working.get_average(), self._reading.get_average()
        parts = ", ".join(f"{name.removeprefix('loss_')} {value:.4f}" for name, value in means.items())
        logger.info(
            f"[TRAIN] epoch: {(iteration - 1) // self.iters_per_epoch + 1}, iter: {iteration}/{self.iters}, "
            f"loss: {total:.4f} ({parts}), lr: {learning_rate:.6f}, batch_cost: {cost:.4f}, reader_cost: {read:.5f}, "
            f"ips: {self._working.get_ips_average():.4f} samples/sec | "
            f"ETA {calculate_eta(self.iters - iteration, cost)}"
        )
        times = {"lr": learning_rate, "batch_cost": cost, "reader_cost": read}
        self.scalars("Train", {"loss": total, **means, **times}, iteration)
        self._losses.clear()
        self._reading.reset()
        self._working.reset()

    def scalars(self, group: str, values: Mapping[str, float], iteration: int) -> None:
        """Adds points to VisualDL's curves."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, iteration)

    def close(self) -> None:
        """Ends the curves' file."""
        if self._writer is not None:
            self._writer.close()
