"""A Mask R-CNN small enough for CPU tests, and what to feed it."""

import numpy as np
import paddle
from tiny_backbone import TinyBackbone

from paddle_pointrend.models.instance import MaskRCNN, PointRendMaskHead, StandardMaskHead, Targets

NUM_CLASSES, CHANNELS = 3, 16
SIZES = [(64, 96), (50, 90)]


def build(head="pointrend", num_classes=NUM_CLASSES, **options):
    paddle.seed(0)
    if head == "pointrend":
        widths = {"coarse_head": {"channels": 8, "fc_channels": 16}, "point_head": {"hidden_channels": 16}}
        mask_head = PointRendMaskHead(num_classes, in_channels=CHANNELS, **widths)
    else:
        mask_head = StandardMaskHead(num_classes, in_channels=CHANNELS, channels=8)
    options = {"box_head": {"fc_channels": 32, "score_threshold": 0.0}} | options
    options = {"rpn": {"anchor_sizes": (8, 16, 32, 64, 128)}} | options
    model = MaskRCNN(TinyBackbone((8, 8, 8, 8)), num_classes, mask_head, fpn_channels=CHANNELS, **options)
    model.eval()
    return model


def images():
    return paddle.to_tensor(np.random.default_rng(0).standard_normal([2, 3, 64, 96], dtype="float32"))


def rectangles(boxes, classes, size):
    """Targets whose masks fill their boxes, whole pixels."""
    masks = np.zeros([len(boxes), *size], np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1:y2, x1:x2] = 1
    return Targets(np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64), masks)


def targets():
    return [
        rectangles([[5, 5, 40, 30], [30, 20, 80, 60]], [0, 2], SIZES[0]),
        rectangles([[10, 10, 60, 50]], [1], SIZES[1]),
    ]
