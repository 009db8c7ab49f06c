"""Operations on maps that OpenCV and NumPy do several times faster than Paddle's CPU kernels.

They are for eager mode on the CPU, for float32 tensors that need no gradient: `suits` tells. Memory is shared with
Paddle (DLPack), not copied.
"""

import cv2
import numpy as np
import paddle
import paddle.nn.functional as F

_BLOCK = 2**15  # pixels: a few rows of them fit into the second-level cache


def suits(x):
    """Whether the functions below take this tensor."""
    return (
        paddle.in_dynamic_mode()
        and x.place.is_cpu_place()
        and x.dtype == paddle.float32
        and (x.stop_gradient or not paddle.is_grad_enabled())
        and 0 not in x.shape
    )


def double(maps):
    """Maps [N, C, H, W] at twice their height and width, bilinear, align_corners=False. Takes any tensor."""
    if not suits(maps):
        return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    num_images, channels, height, width = maps.shape
    doubled = np.empty([num_images, channels, 2 * height, 2 * width], np.float32)
    for image, target in zip(np.from_dlpack(maps), doubled):
        for channel, plane in zip(image, target):
            cv2.resize(channel, (2 * width, 2 * height), dst=plane, interpolation=cv2.INTER_LINEAR)
    return paddle.utils.dlpack.from_dlpack(doubled)


def second_minus_best(maps):
    """Of maps [N, C, ...] with C >= 2 the second-best channel minus the best one, [N, 1, ...].

    A running tournament over blocks of pixels, whose intermediate results stay in the cache.
    """
    flat = np.from_dlpack(maps.reshape([*maps.shape[:2], -1]))
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
    return paddle.utils.dlpack.from_dlpack(differences).reshape([flat.shape[0], 1, *maps.shape[2:]])


def blend(maps, indices, weights):
    """Weighted sums of pixels: out[n, c, p] = sum over i of weights[n, i, p] * maps[n, c].flatten()[indices[n, i, p]].

    Args:
        maps: [N, C, H, W].
        indices: int64 [N, I, P], all of which exist.
        weights: float32 [N, I, P].

    Returns:
        [N, C, P].
    """
    flat, indices, weights = (np.from_dlpack(x) for x in (maps.flatten(2), indices, weights))
    blended = np.empty([*flat.shape[:2], indices.shape[2]], np.float32)
    pixels = np.empty(indices.shape[1:], np.float32)
    for image, index, weight, targets in zip(flat, indices, weights, blended):
        for channel, target in zip(image, targets):
            np.take(channel, index, out=pixels, mode="clip")  # the default mode would copy `out`
            np.einsum("ip,ip->p", pixels, weight, out=target)
    return paddle.utils.dlpack.from_dlpack(blended)
