"""Networks: the point head, PointRendSeg, SemanticFPN, more segmentors (segmentors/), ResNet, VGG-16, Mask R-CNN
(instance/), and taps into models that are not written for PointRend.

Imports points/; neither PaddleSeg nor anything that runs a model.
"""

from paddle_pointrend.models.fpn import FPN
from paddle_pointrend.models.instance import MaskRCNN, PointRendMaskHead, StandardMaskHead
from paddle_pointrend.models.point_head import PointHead
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.models.resnet import ResNet
from paddle_pointrend.models.segmentors import DeepLabV1, DeepLabV2, GCUNet, SkipFCN
from paddle_pointrend.models.semantic_fpn import SemanticFPN
from paddle_pointrend.models.taps import Taps
from paddle_pointrend.models.vgg import VGG16

__all__ = [
    "FPN",
    "VGG16",
    "DeepLabV1",
    "DeepLabV2",
    "GCUNet",
    "MaskRCNN",
    "PointHead",
    "PointRendMaskHead",
    "PointRendSeg",
    "ResNet",
    "SemanticFPN",
    "SkipFCN",
    "StandardMaskHead",
    "Taps",
]
