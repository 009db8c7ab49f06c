"""Images, labels and points that both sides get."""

import numpy as np

from torch_parity.randomness import generator

IGNORED = 255


def smooth_image(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Draws images with structure: a smooth background, flat areas with sharp edges, a little noise.

    Args:
        shape: (N, H, W).
        seed: an integer.

    Returns:
        float32 [N, 3, H, W], about mean 0 and deviation 1.
    """
    count, height, width = shape
    random = generator(seed, "image")
    background = _upsampled(random.normal(size=(count, 3, 5, 7)), (height, width))
    areas = _areas(random, count, 12, (height, width))
    colours = random.normal(size=(count, 3, 12))
    flat = np.stack([colour[:, area] for colour, area in zip(colours, areas)])
    noise = random.normal(size=(count, 3, height, width))
    return (0.7 * background + 0.7 * flat + 0.1 * noise).astype("float32")


def smooth_labels(shape: tuple[int, int, int], num_classes: int, seed: int) -> np.ndarray:
    """Draws labels int64 [N, H, W] in large areas; about every tenth area is ignored."""
    count, height, width = shape
    random = generator(seed, "labels")
    areas = _areas(random, count, 30, (height, width))
    classes = random.randint(0, num_classes, size=(count, 30))
    classes[:, ::10] = IGNORED
    return np.stack([of_area[area] for of_area, area in zip(classes, areas)]).astype("int64")


def random_coords(count: int, num_points: int, seed: int) -> np.ndarray:
    """Draws points to train on, float32 [count, num_points, 2] in [0, 1)."""
    return generator(seed, "coords").uniform(size=(count, num_points, 2)).astype("float32")


def _areas(generator, count, num_areas, size):
    """int [count, *size]: to which of random centres each pixel is nearest."""
    ys, xs = ((np.arange(n) + 0.5) / n for n in size)
    centres = generator.uniform(size=(count, num_areas, 2))
    distances = (ys[:, None, None] - centres[:, None, None, :, 1]) ** 2
    distances = distances + (xs[:, None] - centres[:, None, None, :, 0]) ** 2
    return distances.argmin(axis=-1)


def _upsampled(maps, size):
    """[N, C, h, w] enlarged bilinearly, corners on corners."""
    for axis, length in zip((2, 3), size):
        places = np.linspace(0, maps.shape[axis] - 1, length)
        low = np.minimum(places.astype(int), maps.shape[axis] - 2)
        part = (places - low).reshape([-1] + [1] * (3 - axis))
        maps = np.take(maps, low, axis) * (1 - part) + np.take(maps, low + 1, axis) * part
    return maps
