"""Random numbers for both sides: from NumPy's RandomState, whose streams do not change between versions, seeded by the
entry's name: what a key gets does not depend on which other keys there are.
"""

import zlib

import numpy as np


def generator(seed: int, name: str) -> np.random.RandomState:
    """Makes the generator of one entry: its numbers do not depend on which other entries there are."""
    return np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()))


def places(name: str, size: int, count: int) -> np.ndarray:
    """Chooses where a golden keeps entries: `count` indices into a flattened array, the same for each name."""
    return generator(size, name).randint(0, size, count)
