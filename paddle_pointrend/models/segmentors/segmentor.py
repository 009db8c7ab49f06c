"""What the networks of this folder have in common."""

import paddle
from paddle import nn

from paddle_pointrend.models.backbones import image_channels, measure_backbone
from paddle_pointrend.models.sizes import interpolate
from paddle_pointrend.option_checks import check_counts

FINE_STRIDE = 4  # the paper's point heads read P2 or res2


class Segmentor(nn.Layer):
    """A backbone whose maps are measured, fine features from it, and logits enlarged to the image's size.

    Subclasses set `coarse_stride` and have `forward_features`.

    Args:
        num_classes: K.
        backbone: returns a list of maps, fine -> coarse, as PaddleSeg's backbones do. Channels and strides are read
            from it.

    Attributes:
        in_channels: of the images, read from the backbone.
        map_channels, map_strides: of the backbone's maps, fine -> coarse.
        fine_index: of the backbone's map that the point head reads, the first at stride 4 or coarser.
        fine_channels, fine_strides: lists of one, of that map.

    Raises:
        ValueError: fewer than one class, a backbone whose maps do not run from fine to coarse or do not divide the
            image.
    """

    coarse_stride: int

    def __init__(self, num_classes: int, backbone: nn.Layer) -> None:
        super().__init__()
        check_counts(num_classes=num_classes)
        self.map_channels, self.map_strides = measure_backbone(backbone)
        if self.map_strides != sorted(self.map_strides):
            raise ValueError(f"the backbone's maps must run from fine to coarse, got strides {self.map_strides}")
        self.num_classes = num_classes
        self.in_channels = image_channels(backbone)
        self.backbone = backbone
        self.fine_index = next((i for i, stride in enumerate(self.map_strides) if stride >= FINE_STRIDE), -1)
        self.fine_channels = [self.map_channels[self.fine_index]]
        self.fine_strides = [self.map_strides[self.fine_index]]

    def forward_features(self, x: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Returns the coarse logits [N, K, h, w] and the fine features, a list of one."""
        raise NotImplementedError

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Predicts for images [N, C, H, W] a list of one: logits [N, K, H, W]."""
        return [interpolate(self.forward_features(x)[0], x.shape[2:])]


def classifier(in_channels: int, num_classes: int) -> nn.Conv2D:
    """Makes a 1x1 convolution to class scores, normal 0.01 at the start, biases 0 (as DeepLab's)."""
    weight_init, bias_init = nn.initializer.Normal(0.0, 0.01), nn.initializer.Constant(0.0)
    return nn.Conv2D(in_channels, num_classes, 1, weight_attr=weight_init, bias_attr=bias_init)


def hidden_layers(
    in_channels: int,
    channels: int,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    dilation: int = 1,
    dropout: float = 0.5,
) -> nn.Sequential:
    """Makes two convolutions with ReLU and dropout: VGG's fully connected layers as FCN and DeepLab have them.

    Args:
        in_channels: of the input.
        channels: of both layers.
        kernel_size, stride, dilation: of the first convolution, padded to keep size / stride; the second is 1x1.
        dropout: share of the values that training drops behind each.
    """
    first = _convolution(in_channels, channels, kernel_size, stride, dilation)
    second = _convolution(channels, channels)
    return nn.Sequential(first, nn.ReLU(), nn.Dropout(dropout), second, nn.ReLU(), nn.Dropout(dropout))


def _convolution(in_channels, channels, kernel_size=1, stride=1, dilation=1):
    return nn.Conv2D(
        in_channels,
        channels,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        weight_attr=nn.initializer.KaimingNormal(fan_in=channels * kernel_size**2),  # fan out
        bias_attr=nn.initializer.Constant(0.0),
    )
