"""VGG-16 as a backbone: the networks of FCN and DeepLab stand on it, and PaddleSeg lacks it.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (ICLR 2015).
"""

import paddle
from paddle import nn

from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.option_checks import check_counts

OUTPUT_STRIDES = (8, 16, 32)
_CONVOLUTIONS = (2, 2, 3, 3, 3)  # before each pooling
_WIDTHS = (1, 2, 4, 8, 8)  # in multiples of base_channels


class VGG16(nn.Layer):
    """The thirteen 3x3 convolutions of VGG-16 (configuration D), named as paddle.vision's, and their five poolings.

    Args:
        base_channels: width of the first convolutions, the paper's is 64.
        output_stride: 32, the paper's; with 16 or 8 the poolings from there on have stride 1 (and size 3x3) and the
            convolutions behind them are dilated, as in DeepLab.
        batch_norm: a BatchNorm behind each convolution; the paper has none, and starts from a trained shallow network.
        in_channels: of the images.
        pretrained: a file of weights of this network, a path or a URL; None for random ones (He et al. 2015).

    Shape:
        - x: [N, in_channels, H, W].
        - output: a list of maps of base_channels * (1, 2, 4, 8, 8) channels at strides 2, 4, 8, 16, 32 (at most
          output_stride), sizes rounded up, as Caffe's poolings do.

    Attributes:
        feat_channels: channels of the five maps.

    Raises:
        ValueError: another output_stride, fewer than one channel.
        CheckpointError: weights that cannot be read or are not this network's.
    """

    def __init__(
        self,
        *,
        base_channels: int = 64,
        output_stride: int = 32,
        batch_norm: bool = False,
        in_channels: int = 3,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"output_stride must be one of {OUTPUT_STRIDES}, got {output_stride!r}")
        check_counts(base_channels=base_channels, in_channels=in_channels)
        self.feat_channels = [base_channels * width for width in _WIDTHS]
        layers: list[nn.Layer] = []
        self.poolings = []  # their places among the layers
        channels, stride, dilation = in_channels, 1, 1
        for num_convolutions, out_channels in zip(_CONVOLUTIONS, self.feat_channels):
            for _ in range(num_convolutions):
                layers.append(_convolution(channels, out_channels, dilation))
                layers += [nn.BatchNorm2D(out_channels), nn.ReLU()] if batch_norm else [nn.ReLU()]
                channels = out_channels
            self.poolings.append(len(layers))
            if stride < output_stride:
                layers.append(nn.MaxPool2D(2, stride=2, ceil_mode=True))
                stride *= 2
            else:
                layers.append(nn.MaxPool2D(3, stride=1, padding=1))
                dilation *= 2
        self.features = nn.Sequential(*layers)
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Returns the maps behind the five poolings, fine -> coarse."""
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.poolings:
                maps.append(x)
        return maps


def _convolution(in_channels, out_channels, dilation):
    return nn.Conv2D(
        in_channels,
        out_channels,
        3,
        padding=dilation,
        dilation=dilation,
        weight_attr=nn.initializer.KaimingNormal(fan_in=out_channels * 9),  # fan out
        bias_attr=nn.initializer.Constant(0.0),
    )
