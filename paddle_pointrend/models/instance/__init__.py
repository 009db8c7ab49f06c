"""Instance segmentation: Mask R-CNN, and PointRend's mask head on it."""

from paddle_pointrend.models.instance.mask_heads import PointRendMaskHead
from paddle_pointrend.models.instance.mask_rcnn import MaskRCNN
from paddle_pointrend.models.instance.standard_mask_head import StandardMaskHead
from paddle_pointrend.models.instance.structures import Detections, Targets

__all__ = ["Detections", "MaskRCNN", "PointRendMaskHead", "StandardMaskHead", "Targets"]
