"""Timing on a machine that others use too: only things timed alternately in one process compare."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def alternate(
    functions: Sequence[Callable[[], Any]],
    rounds: int,
    warmup: int = 1,
    clock: Callable[[], float] | None = None,
) -> np.ndarray:
    """Times functions in seconds [rounds, len(functions)]: every round calls each function once, in their order.

    Neighbours in a row saw the same machine, so ratios are taken row by row. A function that starts work on a device
    must wait for its end itself (`paddle.device.synchronize()`).

    Args:
        functions: callables without arguments.
        rounds: rounds that are timed, at least 1.
        warmup: rounds before, which are not.
        clock: seconds; `time.process_time` for those that the processor spent on this process, None for the clock's.
    """
    if rounds < 1 or warmup < 0:
        raise ValueError(f"rounds must be at least 1 and warmup at least 0, got {rounds} and {warmup}")
    clock = clock or time.perf_counter
    seconds = np.empty([warmup + rounds, len(functions)])
    for row in seconds:
        for i, function in enumerate(functions):
            start = clock()
            function()
            row[i] = clock() - start
    return seconds[warmup:]


def quartiles(values: Sequence[float] | np.ndarray) -> str:
    """Writes median (first quartile to third)."""
    first, median, third = np.percentile(values, [25, 50, 75])
    return f"{median:.3f} ({first:.3f} to {third:.3f})"
