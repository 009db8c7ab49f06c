"""The ResNets and ResNeXts of the official checkpoints, which PaddleSeg lacks: on paddle.vision's, with the references'
differences as arguments.

Source: He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016); Xie et al., "Aggregated Residual
Transformations for Deep Neural Networks" (CVPR 2017); mmsegmentation's ResNetV1c;
detectron2/modeling/backbone/resnet.py.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.vision.models import resnet

from paddle_pointrend.models.weights import load_pretrained

DEPTHS = (50, 101, 152)
_PARTS = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))  # what freeze_at counts


class ResNet(resnet.ResNet):
    """ResNet-50, -101 or -152 that returns the maps of its four stages.

    Args:
        depth: 50, 101 or 152.
        deep_stem: three 3x3 convolutions (32, 32, 64 channels) for the 7x7 one: ResNet V1c, mmsegmentation's.
        stride_in_1x1: a stage's stride in the first 1x1 convolution of its first block instead of the 3x3 one:
            the MSRA network of Caffe, detectron2's.
        norm: "BN" or "FrozenBN" (statistics, scale and shift stay as they are in training). On several GPUs
            PaddleSeg turns BN into SyncBN.
        groups, width_per_group: of the 3x3 convolutions, the width in the first stage; 32 and 8 make ResNeXt 32x8d.
        freeze_at: so many parts, from the stem (1) to the last stage (5), keep their weights in training; their norms
            are FrozenBN. 0 for none; detectron2's detectors have 2.
        in_channels: of the images.
        pretrained: a file of weights that `paddle-pointrend convert` wrote, a path or a URL; None for random ones.

    Shape:
        - x: [N, in_channels, H, W].
        - output: a list of [N, 256, H/4, W/4], [N, 512, H/8, W/8], [N, 1024, H/16, W/16], [N, 2048, H/32, W/32],
          sizes rounded up.

    Raises:
        ValueError: another depth or norm, freeze_at out of its range.
        CheckpointError: weights that cannot be read or are not this network's.
    """

    def __init__(
        self,
        depth: int,
        *,
        deep_stem: bool = False,
        stride_in_1x1: bool = False,
        norm: str = "BN",
        groups: int = 1,
        width_per_group: int = 64,
        freeze_at: int = 0,
        in_channels: int = 3,
        pretrained: str | None = None,
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f"depth must be one of {DEPTHS}, got {depth!r}")
        if norm not in ("BN", "FrozenBN"):
            raise ValueError(f"norm must be 'BN' or 'FrozenBN', got {norm!r}")
        block = _StrideIn1x1Block if stride_in_1x1 else resnet.BottleneckBlock
        if not 0 <= freeze_at <= 5:
            raise ValueError(f"freeze_at must lie in [0, 5], got {freeze_at!r}")
        super().__init__(block, depth, width=width_per_group, num_classes=0, with_pool=False, groups=groups)
        self.stride_in_1x1 = stride_in_1x1
        if deep_stem:
            self.conv1 = _deep_stem(in_channels)
        elif in_channels != 3:
            self.conv1 = nn.Conv2D(in_channels, 64, 7, stride=2, padding=3, bias_attr=False)
        if norm == "FrozenBN":
            _freeze_batch_norms(self, [name for name, _ in self.named_children()])
        frozen = [name for part in _PARTS[:freeze_at] for name in part]
        _freeze_batch_norms(self, frozen)
        for name in frozen:
            for parameter in getattr(self, name).parameters():
                parameter.stop_gradient = True
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:  # type: ignore[override]  # a backbone's maps
        """Returns the maps of the four stages, fine -> coarse."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class _StrideIn1x1Block(resnet.BottleneckBlock):
    def __init__(self, in_channels, channels, stride=1, downsample=None, *args, **kwargs):
        super().__init__(in_channels, channels, 1, downsample, *args, **kwargs)
        if stride != 1:
            self.conv1 = nn.Conv2D(in_channels, self.conv1.weight.shape[0], 1, stride=stride, bias_attr=False)


def _deep_stem(in_channels):
    """The three convolutions; the last one's norm is the network's bn1."""
    layers = []
    for channels, out_channels, stride in ((in_channels, 32, 2), (32, 32, 1), (32, 64, 1)):
        layers.append(nn.Conv2D(channels, out_channels, 3, stride=stride, padding=1, bias_attr=False))
        layers += [nn.BatchNorm2D(out_channels), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


class FrozenBatchNorm2D(nn.Layer):
    """Batch norm with fixed statistics, scale and shift: buffers, which neither training nor SyncBN changes.

    Args:
        num_features: C of the maps [N, C, H, W].

    Source: detectron2/layers/batch_norm.py. The names in its state dict are those of nn.BatchNorm2D.
    """

    EPSILON = 1e-5

    def __init__(self, num_features: int) -> None:
        super().__init__()
        ones, zeros = paddle.ones([num_features]), paddle.zeros([num_features])
        self.register_buffer("weight", ones)
        self.register_buffer("bias", zeros)
        self.register_buffer("_mean", zeros.clone())
        self.register_buffer("_variance", ones - self.EPSILON)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalises [N, C, H, W] with the fixed statistics."""
        return F.batch_norm(x, self._mean, self._variance, self.weight, self.bias, epsilon=self.EPSILON)


def _freeze_batch_norms(layer, names):
    """Replaces the batch norms among the sublayers of these names, and all those inside them."""
    for name in names:
        child = getattr(layer, name)
        if isinstance(child, nn.BatchNorm2D):
            layer.add_sublayer(name, FrozenBatchNorm2D(child.weight.shape[0]))
        else:
            _freeze_batch_norms(child, [inner for inner, _ in child.named_children()])
