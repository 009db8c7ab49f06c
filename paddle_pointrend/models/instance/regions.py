"""Points of boxes: the map from a box to the image, which is all that instances add to points/.

R: boxes of all images, P: points of a box, C: channels. Boxes of the first image come first.

Source: detectron2 projects/PointRend/point_rend/point_features.py.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import paddle

from paddle_pointrend.points import Execution


def regular_grid(boxes: paddle.Tensor, side: int) -> paddle.Tensor:
    """Makes the centres of side x side cells of every box, (x, y) in [0, 1] of the box: [R, side^2, 2], row by row."""
    centres = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(centres, centres), axis=2).reshape(1, -1, 2)
    return paddle.to_tensor(grid, dtype=boxes.dtype).expand([boxes.shape[0], -1, -1])


def image_coords(boxes: paddle.Tensor, coords: paddle.Tensor) -> paddle.Tensor:
    """Turns points [R, P, 2], (x, y) in [0, 1] of boxes [R, 4], into pixels of the image."""
    corner = boxes[:, :2].unsqueeze(1)
    return coords * (boxes[:, 2:].unsqueeze(1) - corner) + corner


def sampler_in_boxes(
    features: paddle.Tensor, stride: int, boxes: paddle.Tensor, counts: Sequence[int], execution: Execution
) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """Prepares a map [N, C, H, W] to be read inside boxes: coords [R, P, 2] of the boxes -> [R, C, P].

    Args:
        features: the map of all images.
        stride: of the map.
        boxes: [R, 4].
        counts: how many boxes each of the N images has; of one image its length alone is read.
        execution: how it is executed.
    """
    size = _image_size(features, stride).astype(boxes.dtype)
    if len(counts) == 1:
        return functools.partial(_sample_one_image, execution.sampler(features), size, boxes)
    samplers = [execution.sampler(features[i : i + 1]) if count else None for i, count in enumerate(counts)]

    def sample(coords):
        if not boxes.shape[0]:
            return paddle.zeros([0, features.shape[1], coords.shape[1]], features.dtype)
        places = paddle.split(image_coords(boxes, coords) / size, list(counts))
        read = []
        for sampler, of_image in zip(samplers, places):
            if sampler is not None:
                values = sampler(of_image.reshape([1, -1, 2]))  # all boxes of the image at once: [1, C, R_i * P]
                values = values.reshape([features.shape[1], -1, coords.shape[1]])
                read.append(values.transpose([1, 0, 2]))
        return paddle.concat(read)

    return sample


def _image_size(features, stride):
    """(width, height) of the image in pixels, an integer tensor, in graphs too."""
    shape = paddle.shape(features)
    return paddle.stack([shape[3], shape[2]]) * stride


def _sample_one_image(sampler, size, boxes, coords):
    places = image_coords(boxes, coords) / size
    values = sampler(places.reshape([1, -1, 2]))
    num_boxes, num_points = paddle.shape(coords)[:2]  # tensors, which a graph of any number of boxes needs
    return values.reshape([values.shape[1], num_boxes, num_points]).transpose([1, 0, 2])
