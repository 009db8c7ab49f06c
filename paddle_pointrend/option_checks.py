"""Checks of options that count something."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any


def check_counts(**counts: Any) -> None:
    """Checks options that count something, by their names.

    Raises:
        ValueError: one is not a whole number of at least 1.
    """
    for name, value in counts.items():
        if not is_count(value):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def check_lists_of_counts(**lists: Any) -> None:
    """Checks options that are lists of such numbers, by their names.

    Raises:
        ValueError: one is no list or tuple, is empty, or has something else in it.
    """
    for name, values in lists.items():
        if not isinstance(values, Sequence) or not values or not all(map(is_count, values)):
            raise ValueError(f"{name} must be a list of whole numbers of at least 1, got {values!r}")


def is_count(value: Any) -> bool:
    """Tells whether a value is a whole number of at least 1."""
    return isinstance(value, Integral) and int(value) >= 1
