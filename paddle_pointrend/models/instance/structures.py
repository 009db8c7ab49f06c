"""What goes into a Mask R-CNN in training and comes out of it in evaluation."""

import dataclasses
from typing import Any

import paddle


@dataclasses.dataclass
class Targets:
    """The objects of one training image, tensors or NumPy arrays. M: objects, may be 0.

    boxes: float32 [M, 4], x1 y1 x2 y2 in the network input's pixels.
    classes: int64 [M], from 0.
    masks: uint8 or bool [M, H, W], of the image, or of the padded one.
    """

    boxes: Any
    classes: Any
    masks: Any


@dataclasses.dataclass
class Detections:
    """What was found in one image, best first. D: detections, may be 0.

    boxes: float32 [D, 4], x1 y1 x2 y2 in the network input's pixels.
    scores: float32 [D], in [0, 1].
    classes: int64 [D], from 0.
    masks: float32 [D, S, S], probabilities over the box.
    coarse_masks: float32 [D, s, s], the same before PointRend refines them; the masks themselves where nothing does.
    """

    boxes: paddle.Tensor
    scores: paddle.Tensor
    classes: paddle.Tensor
    masks: paddle.Tensor
    coarse_masks: paddle.Tensor


def usable_targets(targets: Targets, image_size: tuple[int, int]) -> Targets:
    """Turns targets into tensors, cuts padding off the masks and leaves out objects whose box has no area.

    Raises:
        ValueError: boxes, classes and masks of different lengths or wrong shapes, masks smaller than the image.
    """
    height, width = image_size
    boxes = paddle.to_tensor(targets.boxes, dtype=paddle.get_default_dtype()).reshape([-1, 4])
    classes = paddle.to_tensor(targets.classes, dtype="int64").reshape([-1])
    masks = paddle.to_tensor(targets.masks).astype("uint8")
    if not boxes.shape[0]:
        return Targets(boxes, classes[:0], paddle.zeros([0, height, width], "uint8"))
    count = boxes.shape[0]
    if classes.shape[0] != count or masks.ndim != 3 or masks.shape[0] != count:
        shapes = f"{boxes.shape}, {classes.shape} and {masks.shape}"
        raise ValueError(f"targets need one class and one mask [H, W] a box, got boxes, classes and masks of {shapes}")
    if masks.shape[1] < height or masks.shape[2] < width:
        raise ValueError(f"masks must cover the image of {height}x{width} pixels, got {masks.shape[1:]}")
    has_area = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero().flatten()
    masks = masks[:, :height, :width]
    if has_area.shape[0] == count:
        return Targets(boxes, classes, masks)
    return Targets(*(paddle.gather(x, has_area) for x in (boxes, classes, masks)))
