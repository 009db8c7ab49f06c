"""What may be done at test time besides one forward pass over the whole image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class InferenceOptions:
    """Test-time augmentation and sliding window; the default is one forward pass over the whole image.

    Attributes:
        scales: factors to which an image is resized; logits are averaged over them.
        flip_horizontal, flip_vertical: whether to average over the image flipped left to right, and upside down, too.
        window: (width, height) in pixels; an image that is larger goes through a sliding window of this size.
        window_stride: (width, height) between two windows; three quarters of the window by default.

    Raises:
        ValueError: scales that are not above 0, sizes below 1, a stride without a window or larger than it.
    """

    scales: Sequence[float] = (1.0,)
    flip_horizontal: bool = False
    flip_vertical: bool = False
    window: Sequence[int] | None = None
    window_stride: Sequence[int] | None = None

    def __post_init__(self):
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales must be above 0, got {list(self.scales)}")
        if self.window is None:
            if self.window_stride is not None:
                raise ValueError(f"window_stride is {self.window_stride} without a window")
            return
        window, stride = _two_sides("window", self.window), self.window_stride
        stride = [max(1, side * 3 // 4) for side in window] if stride is None else _two_sides("window_stride", stride)
        if any(step > side for step, side in zip(stride, window)):
            raise ValueError(f"window_stride {stride} is larger than the window {window}: it leaves gaps")
        object.__setattr__(self, "window", tuple(window))  # the way that a frozen dataclass has
        object.__setattr__(self, "window_stride", tuple(stride))

    @property
    def augments(self) -> bool:
        """Whether the network runs on more than the image as it is."""
        return list(self.scales) != [1] or self.flip_horizontal or self.flip_vertical

    def slides_over(self, height: int, width: int) -> bool:
        """Whether an image of this size goes through a sliding window."""
        return self.window is not None and (width > self.window[0] or height > self.window[1])

    def layout(self) -> tuple[Sequence[int], Sequence[int]]:
        """Returns window and stride as (height, width), which `slide` takes. ValueError without a window."""
        if self.window is None or self.window_stride is None:
            raise ValueError("there is no window")
        return self.window[::-1], self.window_stride[::-1]


ONE_PASS = InferenceOptions()  # over the whole image


def _two_sides(name, sides):
    if np.shape(sides) != (2,) or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in sides):
        raise ValueError(f"{name} is {sides!r}, expected (width, height), whole numbers of at least 1")
    return list(sides)
