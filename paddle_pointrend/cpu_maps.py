"""Two operations that OpenCV does several times faster than Paddle's CPU kernels.

They take that way in eager mode on the CPU, for float32 tensors that need no gradient; everywhere else Paddle computes
the same. Memory is shared with OpenCV (DLPack), not copied.
"""

import cv2
import numpy as np
import paddle
import paddle.nn.functional as F


def double(maps):
    """Maps [N, C, H, W] at twice their height and width, bilinear, align_corners=False."""
    if not _suits_opencv(maps):
        return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    num_images, channels, height, width = maps.shape
    doubled = np.empty([num_images, channels, 2 * height, 2 * width], np.float32)
    for image, target in zip(np.from_dlpack(maps), doubled):
        for channel, plane in zip(image, target):
            cv2.resize(channel, (2 * width, 2 * height), dst=plane, interpolation=cv2.INTER_LINEAR)
    return paddle.utils.dlpack.from_dlpack(doubled)


def swap_axes(x):
    """[N, A, B] as [N, B, A], in memory too where that is cheap."""
    if not _suits_opencv(x):
        return x.transpose([0, 2, 1])
    swapped = np.empty([x.shape[0], x.shape[2], x.shape[1]], np.float32)
    for matrix, target in zip(np.from_dlpack(x), swapped):
        cv2.transpose(matrix, dst=target)
    return paddle.utils.dlpack.from_dlpack(swapped)


def _suits_opencv(x):
    return (
        paddle.in_dynamic_mode()
        and x.place.is_cpu_place()
        and x.dtype == paddle.float32
        and (x.stop_gradient or not paddle.is_grad_enabled())
        and 0 not in x.shape
    )
