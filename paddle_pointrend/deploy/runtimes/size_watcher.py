"""Compiles a network for the size of its images, where one size keeps coming."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Network = Callable[[np.ndarray], np.ndarray]


class SizeWatcher:
    """Runs a network compiled for any size, and one compiled for its size alone where images keep coming in one size.

    That is 5 to 10 % faster. Compiling takes a second or two, so it waits for some images of a size in a row, and
    twice as long each time that another size has come in between. There is one compiled network at a time.

    Args:
        compile_for: a function shape -> function of images; the shape is [N, C, H, W], or None for any.
        patience: images of a size in a row until it is compiled for. With 1 the first image decides: nothing is
            compiled before it comes.
    """

    def __init__(self, compile_for: Callable[[tuple[int, ...] | None], Network], patience: int = 3):
        self._compile_for = compile_for
        self._run: Network | None = None if patience == 1 else compile_for(None)
        self._compiled: tuple[int, ...] | None = None
        self._latest: tuple[int, ...] | None = None
        self._count, self._patience = 0, patience

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self._count = self._count + 1 if images.shape == self._latest else 1
        self._latest = images.shape
        if self._compiled is not None and self._compiled != images.shape:
            self._patience *= 2
            self._compile(None)
        elif self._compiled is None and self._count == self._patience:
            self._compile(images.shape)
        assert self._run is not None  # the first image has been compiled for, if nothing was before
        return self._run(images)

    def _compile(self, shape):
        self._run = None  # its memory goes before the next one's comes
        self._compiled = None
        try:
            self._run, self._compiled = self._compile_for(shape), shape
        finally:
            if self._run is None:  # the next image starts anew
                self._count, self._latest, self._patience = 0, None, 1
