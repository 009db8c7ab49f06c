"""FCN-32s, FCN-16s and FCN-8s: Long et al., "Fully Convolutional Networks for Semantic Segmentation" (CVPR 2015)."""

import numpy as np
import paddle
from paddle import nn

from paddle_pointrend.models.segmentors.segmentor import Segmentor, hidden_layers
from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.option_checks import check_counts

UPSAMPLINGS = ("transposed", "bilinear")


class SkipFCN(Segmentor):
    """Scores the backbone's coarsest map, doubles the scores and adds those of finer maps (section 4.2 of the paper).

    On VGG-16, whose last map has stride 32, coarse_stride 32, 16 and 8 are FCN-32s, -16s and -8s. The paper's fc6 is a
    7x7 convolution; here both fully connected layers are 1x1 ones.

    Args:
        num_classes: K.
        backbone: a VGG16, or any that returns a list of maps, fine -> coarse.
        coarse_stride: of the logits.
        fc_channels: width of the two fully connected layers.
        upsampling: how scores are doubled, "transposed" (a 4x4 transposed convolution that starts bilinear and learns,
            the paper's) or "bilinear". The last enlargement is bilinear too, over the whole image, as PaddleSeg's
            networks do it; the paper enlarges by the stride and crops, another place by up to a stride at the lower and
            right border where the image's sides are no multiples of it.
        dropout: behind the fully connected layers.
        pretrained: a file of weights of the whole model, a path or a URL; see load_pretrained.

    All scores start at zero, as in the paper.

    Raises:
        ValueError: a coarse_stride without a map of that stride and of each doubling up to the coarsest, an unknown
            upsampling; see Segmentor.
        CheckpointError: pretrained weights that cannot be read or are not this model's.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Layer,
        *,
        coarse_stride: int = 8,
        fc_channels: int = 4096,
        upsampling: str = "transposed",
        dropout: float = 0.5,
        pretrained: str | None = None,
    ) -> None:
        super().__init__(num_classes, backbone)
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling must be one of {UPSAMPLINGS}, got {upsampling!r}")
        check_counts(coarse_stride=coarse_stride, fc_channels=fc_channels)
        self.coarse_stride = coarse_stride
        self.skip_indices = _skip_indices(self.map_strides, coarse_stride)
        self.fully_connected = hidden_layers(self.map_channels[-1], fc_channels, dropout=dropout)
        self.score = _score(fc_channels, num_classes)
        self.skip_scores = nn.LayerList(_score(self.map_channels[i], num_classes) for i in self.skip_indices)
        self.doublings = nn.LayerList(_doubling(num_classes, upsampling) for _ in self.skip_indices)
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward_features(self, x: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Returns the coarse logits [N, K, h, w] and the fine features, a list of one backbone map."""
        maps = self.backbone(x)
        logits = self.score(self.fully_connected(maps[-1]))
        for i, skip_score, double in zip(self.skip_indices, self.skip_scores, self.doublings):
            skip = skip_score(maps[i])
            # Where the finer map's size is odd, the coarser one's was rounded up.
            logits = double(logits)[:, :, : skip.shape[2], : skip.shape[3]] + skip
        return logits, [maps[self.fine_index]]


def _skip_indices(strides, coarse_stride):
    """The backbone's maps to add, coarse -> fine; of several with one stride the last."""
    indices, stride = [], strides[-1]
    while stride > coarse_stride and stride // 2 in strides:
        stride //= 2
        indices.append(len(strides) - 1 - strides[::-1].index(stride))
    if stride != coarse_stride:
        raise ValueError(f"coarse_stride {coarse_stride}: the backbone's maps have strides {strides}")
    return indices


def _score(in_channels, num_classes):
    zero = nn.initializer.Constant(0.0)
    return nn.Conv2D(in_channels, num_classes, 1, weight_attr=zero, bias_attr=zero)


def _doubling(num_classes, upsampling):
    if upsampling == "bilinear":
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    line = np.array([0.25, 0.75, 0.75, 0.25])
    weight = np.eye(num_classes)[:, :, None, None] * np.outer(line, line)  # each class from itself alone
    init = nn.initializer.Assign(weight.astype("float32"))
    return nn.Conv2DTranspose(num_classes, num_classes, 4, stride=2, padding=1, weight_attr=init, bias_attr=False)
