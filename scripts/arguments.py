"""Types of the scripts' arguments."""

import argparse


def positive_int(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    return _positive(int, text)


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    return _positive(float, text)


def _positive(kind, text):
    try:
        value = kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {kind.__name__}, got {text!r}") from error
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value
