"""float32 in eager mode on the CPU, where Paddle's kernels for these operations are slow.

Without gradients NumPy and OpenCV work on Paddle's memory (DLPack), nothing is copied. With gradients Paddle gathers
the pixels around each point. Shape letters as in sampling.py; K: classes.
"""

import functools
from collections.abc import Callable

import cv2
import numpy as np
import paddle

from paddle_pointrend.points import generic
from paddle_pointrend.points.generic import Execution
from paddle_pointrend.points.sampling import bilinear_neighbours

# The array's memory as a tensor. Paddle's stub asks for the arrays of a newer NumPy.
_to_paddle: Callable[[np.ndarray], paddle.Tensor] = paddle.utils.dlpack.from_dlpack  # type: ignore[assignment]
_FEW_PIXELS = 64
_BLOCK = 2**15  # pixels: a few rows of them fit into the second-level cache


def upsample(logits: paddle.Tensor) -> paddle.Tensor:
    """Doubles height and width of [N, K, H, W], bilinear, align_corners=False."""
    num_images, channels, height, width = logits.shape
    doubled = np.empty([num_images, channels, 2 * height, 2 * width], np.float32)
    for image, target in zip(np.from_dlpack(logits), doubled):
        for channel, plane in zip(image, target):
            cv2.resize(channel, (2 * width, 2 * height), dst=plane, interpolation=cv2.INTER_LINEAR)
    return _to_paddle(doubled)


def uncertainty(logits: paddle.Tensor) -> paddle.Tensor:
    """Subtracts the best from the second-best class, [N, K, ...] -> [N, 1, ...]; -|logit| for one class.

    Runs a tournament over blocks of pixels, whose intermediate results stay in the cache.
    """
    if logits.shape[1] == 1:
        return generic.uncertainty(logits)
    flat = np.from_dlpack(logits.reshape([*logits.shape[:2], -1]))
    differences = np.empty([flat.shape[0], 1, flat.shape[2]], np.float32)
    buffers = np.empty([3, _BLOCK], np.float32)
    for image, target in zip(flat, differences[:, 0]):
        for start in range(0, len(target), _BLOCK):
            block = image[:, start : start + _BLOCK]
            best, second, loser = buffers[:, : block.shape[1]]
            np.maximum(block[0], block[1], out=best)
            np.minimum(block[0], block[1], out=second)
            for channel in block[2:]:
                np.minimum(best, channel, out=loser)
                np.maximum(second, loser, out=second)
                np.maximum(best, channel, out=best)
            np.subtract(second, best, out=target[start : start + _BLOCK])
    return _to_paddle(differences).reshape([flat.shape[0], 1, *logits.shape[2:]])


def sampler(features: paddle.Tensor) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """Reads the four pixels around each point from the map as it is: point_coords [N, P, 2] -> [N, C, P].

    Of a map of few pixels, as the coarse masks of many boxes are, all channels are read by one matrix product.
    """
    return functools.partial(_sample if features.shape[2] * features.shape[3] > _FEW_PIXELS else _interpolate, features)


def _sample(features, point_coords):
    indices, weights = bilinear_neighbours(point_coords, *features.shape[2:])
    return weighted_sum_of_pixels(features, paddle.stack(indices, axis=1), paddle.stack(weights, axis=1))


def _interpolate(features, point_coords):
    return paddle.matmul(features.flatten(2), pixel_shares(point_coords, *features.shape[2:]), transpose_y=True)


def pixel_shares(point_coords: paddle.Tensor, height: int, width: int) -> paddle.Tensor:
    """Computes the share that every pixel of a small map has in points [N, P, 2]: [N, P, height * width]."""
    shares = np.zeros([*point_coords.shape[:2], height * width], np.float32)
    images, points = np.ogrid[: shares.shape[0], : shares.shape[1]]
    for index, weight in zip(*bilinear_neighbours(point_coords, height, width)):
        shares[images, points, np.from_dlpack(index)] += np.from_dlpack(weight)
    return _to_paddle(shares)


def weighted_sum_of_pixels(maps: paddle.Tensor, indices: paddle.Tensor, weights: paddle.Tensor) -> paddle.Tensor:
    """Sums weights[n, i, p] * maps[n, c].flatten()[indices[n, i, p]] over i.

    Args:
        maps: [N, C, H, W].
        indices: int64 [N, I, P], all of which exist.
        weights: float32 [N, I, P].

    Returns:
        [N, C, P].
    """
    flat, places, shares = (np.from_dlpack(x) for x in (maps.flatten(2), indices, weights))
    sums = np.empty([*flat.shape[:2], places.shape[2]], np.float32)
    pixels = np.empty(places.shape[1:], np.float32)
    for image, index, weight, targets in zip(flat, places, shares, sums):
        for channel, target in zip(image, targets):
            np.take(channel, index, out=pixels, mode="clip")  # the default mode would copy `out`
            np.einsum("ip,ip->p", pixels, weight, out=target)
    return _to_paddle(sums)


def gathering_sampler(features: paddle.Tensor) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """As `sampler`, with gradients: gathers from a copy of the map whose channels lie together.

    Takes a sixth of the time of Paddle's grid_sample.
    """
    pixels = features.flatten(2).transpose([0, 2, 1]).flatten(0, 1)
    return functools.partial(_gather, pixels, features.shape)


def _gather(pixels, shape, point_coords):
    """point_sample of pixels [N * H * W, C], the map of `shape` [N, C, H, W] with channels last."""
    num_images, num_channels, height, width = shape
    indices, weights = bilinear_neighbours(point_coords, height, width)
    first_pixels = paddle.arange(num_images, dtype="int64").reshape([-1, 1]) * (height * width)
    indices = paddle.stack([first_pixels + index for index in indices], axis=2)
    neighbours = paddle.gather(pixels, indices.flatten()).reshape([-1, 4, num_channels])
    blended = paddle.bmm(paddle.stack(weights, axis=2).reshape([-1, 1, 4]), neighbours)
    return blended.reshape([num_images, -1, num_channels]).transpose([0, 2, 1])


EAGER_CPU = Execution("eager CPU", upsample=upsample, uncertainty=uncertainty, sampler=sampler)
EAGER_CPU_WITH_GRADIENTS = Execution("eager CPU with gradients", sampler=gathering_sampler)
