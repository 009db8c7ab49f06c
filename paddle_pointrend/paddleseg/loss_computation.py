"""The place where PaddleSeg's trainer computes an iteration's losses: a function of its module, or of the model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def wrapped_loss_computation(owner: Any, wrap: Callable[[Callable], Callable]) -> Iterator[None]:
    """Puts wrap(owner.loss_computation) in its place inside. An owner without one stays as it is.

    Args:
        owner: the trainer's module, or a model, whose own the trainer calls instead of its module's.
        wrap: takes the function and returns the one to call.
    """
    original = getattr(owner, "loss_computation", None)
    if original is None:
        yield
        return
    own = vars(owner).get("loss_computation")
    owner.loss_computation = wrap(original)
    try:
        yield
    finally:
        del owner.loss_computation
        if own is not None:
            owner.loss_computation = own
