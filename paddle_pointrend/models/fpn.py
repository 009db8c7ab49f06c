"""FPN: the feature pyramid under SemanticFPN. Reference: mmsegmentation's and detectron2's FPN.

Feature lists run fine -> coarse (P2, P3, ...) throughout.
"""

import functools
from collections.abc import Callable, Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

_INITS: dict[str, Callable[[], nn.initializer.Initializer]] = {
    "xavier": nn.initializer.XavierUniform,
    "c2_xavier": functools.partial(nn.initializer.KaimingUniform, negative_slope=1.0, nonlinearity="leaky_relu"),
}


class FPN(nn.Layer):
    """Feature pyramid: 1x1 laterals, nearest top-down additions, 3x3 outputs, all with bias and without norm.

    Args:
        in_channels: channels of each backbone level, fine -> coarse.
        strides: stride of each level with respect to the image, not decreasing.
        out_channels: channels of every output level.
        init: how the weights start, "xavier" (Glorot and Bengio 2010, uniform; mmsegmentation) or "c2_xavier"
            (Caffe2's, uniform within sqrt(3 / fan in); detectron2). Biases start at zero.

    Attributes:
        strides: as given.

    Raises:
        ValueError: channels and strides of different lengths, strides that decrease, an unknown init.
    """

    def __init__(
        self, in_channels: Sequence[int], strides: Sequence[int], *, out_channels: int = 256, init: str = "xavier"
    ) -> None:
        super().__init__()
        if init not in _INITS:
            raise ValueError(f"init must be one of {', '.join(_INITS)}, got {init!r}")
        if len(in_channels) != len(strides) or not strides:
            raise ValueError(f"one stride is needed for each level, got channels {in_channels} and strides {strides}")
        if list(strides) != sorted(strides):
            raise ValueError(f"levels must run from fine to coarse, got strides {list(strides)}")
        self.strides = list(strides)
        weight_init = _INITS[init]()
        self.laterals = nn.LayerList(conv_with_bias(channels, out_channels, 1, weight_init) for channels in in_channels)
        self.outputs = nn.LayerList(conv_with_bias(out_channels, out_channels, 3, weight_init) for _ in in_channels)

    def forward(self, features: list[paddle.Tensor]) -> list[paddle.Tensor]:
        """Runs the top-down path.

        Args:
            features: backbone maps [N, C_i, H_i, W_i], fine -> coarse.

        Returns:
            A list of [N, out_channels, H_i, W_i], fine -> coarse.

        Raises:
            ValueError: another number of levels, or sizes that do not belong to the strides in this order.
        """
        check_level_sizes(features, self.strides)
        maps = [lateral(feature) for lateral, feature in zip(self.laterals, features)]
        for i in reversed(range(len(maps) - 1)):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], size=maps[i].shape[2:], mode="nearest")
        return [output(m) for output, m in zip(self.outputs, maps)]


@paddle.jit.not_to_static  # there, a size not known yet stays -1 and passes
def check_level_sizes(levels: list[paddle.Tensor], strides: Sequence[int]) -> None:
    """Raises ValueError unless there is one map for each stride and their sizes stand in the strides' ratios.

    Layers round an odd size up or down, each once more, so a size may miss its exact ratio by two pixels.
    """
    if len(levels) != len(strides):
        raise ValueError(f"expected {len(strides)} maps of strides {list(strides)}, got {len(levels)}")
    for level, stride in zip(levels[1:], strides[1:]):
        for finest, size in zip(levels[0].shape[2:], level.shape[2:]):
            if min(finest, size) > 0 and abs(size - finest * strides[0] / stride) >= 2:
                sizes = [list(m.shape[2:]) for m in levels]
                raise ValueError(f"maps must run from fine to coarse with strides {list(strides)}, got sizes {sizes}")


def conv_with_bias(
    in_channels: int, out_channels: int, kernel_size: int, weight_init: nn.initializer.Initializer
) -> nn.Conv2D:
    """Makes a convolution that keeps the map's size, with a bias that starts at zero."""
    return nn.Conv2D(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        weight_attr=weight_init,
        bias_attr=nn.initializer.Constant(0.0),
    )
