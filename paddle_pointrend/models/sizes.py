"""Sizes of images and of logits: padding to multiples, cutting back, resizing. In traced graphs of any size too."""

from collections.abc import Callable, Sequence

import paddle
import paddle.nn.functional as F


def pad_to_multiple(images: paddle.Tensor, divisor: int) -> paddle.Tensor:
    """Adds zeros at the right and below, so that height and width of [N, C, H, W] are multiples of divisor."""
    if divisor == 1:
        return images
    num_images, channels, height, width = images.shape
    if paddle.in_dynamic_mode() and height % divisor == 0 and width % divisor == 0:
        return images
    # Not F.pad: paddle2onnx 2.1.0 leaves the value of one whose sizes are not known yet to chance.
    below = paddle.zeros([num_images, channels, -height % divisor, width], images.dtype)
    images = paddle.concat([images, below], axis=2)
    right = paddle.zeros([num_images, channels, images.shape[2], -width % divisor], images.dtype)
    return paddle.concat([images, right], axis=3)


def crop_to(prediction: paddle.Tensor, padded: paddle.Tensor, images: paddle.Tensor) -> paddle.Tensor:
    """Cuts logits [N, K, H', W'] or labels [N, H', W'] of padded images back to the images' size."""
    if padded is images:
        return prediction
    height, width = images.shape[2], images.shape[3]
    return prediction[:, :height, :width] if prediction.ndim == 3 else prediction[:, :, :height, :width]


def resize(logits: paddle.Tensor, size: Sequence) -> paddle.Tensor:
    """Resizes logits to [N, K, *size]; where they have that size already nothing is computed."""
    return if_of_size(logits, size, lambda: logits, lambda: interpolate(logits, size))


def interpolate(logits: paddle.Tensor, size: Sequence) -> paddle.Tensor:
    """Resizes logits to [N, K, *size], bilinear, align_corners=False."""
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@paddle.jit.not_to_static
def if_of_size(logits: paddle.Tensor, size: Sequence, same: Callable, other: Callable) -> paddle.Tensor:
    """Computes same() where the logits [N, K, H, W] have that size, else other()."""
    if paddle.in_dynamic_mode():
        return same() if list(logits.shape[2:]) == list(size) else other()
    height, width = paddle.shape(logits)[2:]
    return paddle.static.nn.cond(paddle.logical_and(height == size[0], width == size[1]), same, other)


@paddle.jit.not_to_static  # there, a size not known yet stays -1 and passes
def check_divisible(images: paddle.Tensor, divisor: int) -> None:
    """Raises ValueError for training images whose height or width is no multiple of divisor."""
    if any(size > 0 and size % divisor for size in images.shape[2:]):
        raise ValueError(
            f"size_divisor is {divisor}, but the training images are {list(images.shape[2:])}; "
            "crop them to multiples of it"
        )
