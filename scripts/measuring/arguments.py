"""Types of the scripts' arguments, for argparse."""

import argparse
import re


def positive_int(text: str) -> int:
    """Reads an integer of at least 1."""
    return _positive(int, text)


def positive_float(text: str) -> float:
    """Reads a finite number above 0."""
    return _positive(float, text)


def image_size(text: str) -> tuple[int, int]:
    """Reads (height, width) of HEIGHTxWIDTH."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, e.g. 512x1024, got {text!r}")
    return int(match[1]), int(match[2])


def _positive(kind, text):
    try:
        value = kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {kind.__name__}, got {text!r}") from error
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value
