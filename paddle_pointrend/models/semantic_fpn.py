"""SemanticFPN: the paper's coarse segmentor (section 4.2), after Kirillov et al., "Panoptic Feature Pyramid
Networks" (CVPR 2019). Reference: mmsegmentation's FPN and FPNHead.

Feature lists run fine -> coarse (P2, P3, ...) throughout.
"""

import math
from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.models.backbones import image_channels, measure_backbone
from paddle_pointrend.models.fpn import FPN, check_level_sizes, conv_with_bias
from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.option_checks import check_counts


class SemanticFPN(nn.Layer):
    """FPN and a head that brings every level to the finest one's size and adds them up.

    A PaddleSeg model of its own, and a segmentor for PointRendSeg.

    Args:
        num_classes: K.
        backbone: returns a list of maps, fine -> coarse, as PaddleSeg's backbones do. Channels and strides
            are read from it.
        backbone_indices: the backbone's maps that enter the pyramid, fine -> coarse.
        head_levels: positions in the pyramid that the head adds up, None for all. (1, 2, 3) of a pyramid that
            starts at stride 4 is the paper's P3 to P5: a coarse map at stride 8, and the point head reads P2.
        fpn_channels, head_channels: widths of the pyramid and of the head.
        norm: "BN" or "GN" (32 groups) in the head. On several GPUs PaddleSeg turns BN into SyncBN.
        fpn_init: how the pyramid's weights start, see FPN.
        predictor_init_std: the classifier starts normal with this deviation.
        pretrained: a file of weights of the whole model, a path or a URL; see load_pretrained.

    Raises:
        CheckpointError: pretrained weights that cannot be read or are not this model's.
        ValueError: fewer than one class, maps or levels that do not exist or do not run from fine to coarse, an unknown
            norm, a backbone whose maps do not divide the image.

    Attributes:
        in_channels: of the images, read from the backbone.
        coarse_stride: stride of the coarse logits.
        fine_channels, fine_strides: of the fine features, one entry a map.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Layer,
        *,
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        head_levels: Sequence[int] | None = None,
        fpn_channels: int = 256,
        head_channels: int = 128,
        norm: str = "BN",
        fpn_init: str = "xavier",
        predictor_init_std: float = 0.01,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, fpn_channels=fpn_channels, head_channels=head_channels)
        channels, strides = measure_backbone(backbone)
        if any(not 0 <= i < len(strides) for i in backbone_indices):
            raise ValueError(f"backbone_indices {list(backbone_indices)}: the backbone has {len(strides)} maps")
        head_levels = list(range(len(backbone_indices)) if head_levels is None else head_levels)
        if not head_levels or any(not 0 <= i < len(backbone_indices) for i in head_levels):
            raise ValueError(f"head_levels {head_levels}: the pyramid has levels 0 to {len(backbone_indices) - 1}")
        if head_levels != sorted(set(head_levels)):
            raise ValueError(f"head_levels must run from fine to coarse, each level once, got {head_levels}")
        self.num_classes = num_classes
        self.in_channels = image_channels(backbone)
        self.backbone = backbone
        self.backbone_indices = list(backbone_indices)
        self.head_levels = head_levels
        strides = [strides[i] for i in backbone_indices]
        self.fpn = FPN([channels[i] for i in backbone_indices], strides, out_channels=fpn_channels, init=fpn_init)
        head_strides = [strides[i] for i in head_levels]
        self.head = _SemanticHead(fpn_channels, head_channels, num_classes, head_strides, norm, predictor_init_std)
        self.coarse_stride = min(head_strides)
        self.fine_channels = [fpn_channels]
        self.fine_strides = [strides[0]]
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward_features(self, x: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Returns the coarse logits [N, K, h, w] and the fine features, a list of one: P2 [N, fpn_channels, H', W']."""
        maps = self.backbone(x)
        pyramid = self.fpn([maps[i] for i in self.backbone_indices])
        return self.head([pyramid[i] for i in self.head_levels]), pyramid[:1]

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Predicts for images [N, 3, H, W] a list of one: logits [N, K, H, W]."""
        coarse_logits, _ = self.forward_features(x)
        return [F.interpolate(coarse_logits, size=x.shape[2:], mode="bilinear", align_corners=False)]


class _SemanticHead(nn.Layer):
    def __init__(self, in_channels, channels, num_classes, strides, norm, predictor_init_std):
        super().__init__()
        self.strides = strides
        self.branches = nn.LayerList(
            _upsampling_branch(in_channels, channels, stride // min(strides), norm) for stride in strides
        )
        self.classifier = conv_with_bias(channels, num_classes, 1, nn.initializer.Normal(0.0, predictor_init_std))

    def forward(self, levels):
        check_level_sizes(levels, self.strides)
        finest = self.strides.index(min(self.strides))
        total = self.classifier(self.branches[finest](levels[finest]))
        for i, (branch, level) in enumerate(zip(self.branches, levels)):
            if i != finest:
                *layers, upsample = branch
                for layer in layers:
                    level = layer(level)
                # A 1x1 convolution and an interpolation may change places, and classes are fewer than channels.
                logits = upsample(F.conv2d(level, self.classifier.weight))
                # An odd size was rounded up at each stride, so that doubling it can overshoot by some pixels.
                total = total + F.interpolate(logits, size=total.shape[2:], mode="bilinear")
        return total


def _upsampling_branch(in_channels, channels, ratio, norm):
    """[3x3 conv, norm, ReLU, x2] until the ratio is made up for, at least one convolution."""
    doublings = int(math.log2(ratio))
    layers = []
    for i in range(max(1, doublings)):
        conv = nn.Conv2D(
            in_channels if i == 0 else channels,
            channels,
            3,
            padding=1,
            weight_attr=nn.initializer.KaimingNormal(fan_in=channels * 9),  # He et al. 2015, fan out
            bias_attr=False,
        )
        layers += [conv, _norm(norm, channels), nn.ReLU()]
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


def _norm(norm, channels):
    if norm == "BN":
        return nn.BatchNorm2D(channels)
    if norm == "GN":
        if channels % 32:
            raise ValueError(f"norm 'GN' has 32 groups, so that head_channels must be a multiple of 32, got {channels}")
        return nn.GroupNorm(32, channels)
    raise ValueError(f"norm must be 'BN' or 'GN', got {norm!r}")
