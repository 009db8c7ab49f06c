"""What a network does not say about itself: channels and strides, measured or read from its layers."""

import paddle
from paddle import nn


def image_channels(model: nn.Layer) -> int:
    """Returns how many channels a network's first convolution takes; 3 where there is none."""
    first = next((layer for layer in model.sublayers() if isinstance(layer, nn.Conv2D)), None)
    return 3 if first is None else first.weight.shape[1] * first._groups


@paddle.no_grad()
def measure_backbone(backbone: nn.Layer, image_size: int = 128) -> tuple[list[int], list[int]]:
    """Measures channels and strides of a backbone's maps in one forward pass over a blank image.

    Args:
        backbone: takes images [N, C, H, W], C being what its first convolution takes, and returns a list of maps.
        image_size: height and width of the blank image, a multiple of the largest stride.

    Returns:
        Two lists of integers, in the backbone's order.

    Raises:
        ValueError: maps whose size does not divide the image's.
    """
    was_training = backbone.training
    backbone.eval()
    maps = backbone(paddle.zeros([1, image_channels(backbone), image_size, image_size]))
    if was_training:
        backbone.train()
    sizes = [m.shape[2] for m in maps]
    if any(image_size % size for size in sizes):
        raise ValueError(f"the backbone's maps must divide a {image_size} pixel image, got sizes {sizes}")
    return [m.shape[1] for m in maps], [image_size // size for size in sizes]
