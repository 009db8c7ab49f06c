"""Networks: the point head, PointRendSeg, SemanticFPN, ResNet, Mask R-CNN (instance/), and taps into models that are
not written for PointRend.

Imports points/; neither PaddleSeg nor anything that runs a model.
"""

from paddle_pointrend.models.fpn import FPN
from paddle_pointrend.models.instance import MaskRCNN, PointRendMaskHead, StandardMaskHead
from paddle_pointrend.models.point_head import PointHead
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.models.resnet import ResNet
from paddle_pointrend.models.semantic_fpn import SemanticFPN
from paddle_pointrend.models.taps import Taps

__all__ = [
    "FPN",
    "MaskRCNN",
    "PointHead",
    "PointRendMaskHead",
    "PointRendSeg",
    "ResNet",
    "SemanticFPN",
    "StandardMaskHead",
    "Taps",
]
