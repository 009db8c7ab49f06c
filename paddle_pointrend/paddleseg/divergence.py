"""A training whose loss is no number any more ends there: its weights are lost, and going on would only hide it."""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from paddle import nn

from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg.loss_computation import wrapped_loss_computation


def check_loss(loss: float, iteration: int) -> None:
    """Raises UsageError for a loss that is not finite."""
    if not np.isfinite(loss):
        raise UsageError(
            f"iteration {iteration}: the training has diverged, its loss is {loss}; lower the learning rate"
        )


@contextlib.contextmanager
def ending_where_it_diverges(model: nn.Layer, start: int) -> Iterator[None]:
    """Makes PaddleSeg's trainer check the loss of each iteration inside, before it changes a weight.

    Not for mixed precision, whose scaler leaves out iterations that overflow and goes on.

    Args:
        model: may have a `loss_computation` of its own, which the trainer then calls instead of its module's.
        start: iterations that are done already.
    """
    trainer: Any = importlib.import_module("paddleseg.core.train")
    iterations = itertools.count(start + 1)

    def checking(loss_computation):
        def checked(*args, **kwargs):
            losses = loss_computation(*args, **kwargs)
            check_loss(sum(float(loss) for loss in losses), next(iterations))
            return losses

        return checked

    with wrapped_loss_computation(model if hasattr(model, "loss_computation") else trainer, checking):
        yield
