"""Networks that PaddleSeg lacks, one a file: each a PaddleSeg model of its own and a segmentor for PointRendSeg."""

from paddle_pointrend.models.segmentors.deeplab_v1 import DeepLabV1
from paddle_pointrend.models.segmentors.deeplab_v2 import DeepLabV2
from paddle_pointrend.models.segmentors.gcu_net import GCUNet
from paddle_pointrend.models.segmentors.skip_fcn import SkipFCN

__all__ = ["DeepLabV1", "DeepLabV2", "GCUNet", "SkipFCN"]
