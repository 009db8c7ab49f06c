"""DeepLab v2: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and
Fully Connected CRFs" (TPAMI 2018)."""

from collections.abc import Sequence

import paddle
from paddle import nn

from paddle_pointrend.models.segmentors.segmentor import Segmentor, classifier, hidden_layers
from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.option_checks import check_counts, check_lists_of_counts


class DeepLabV2(Segmentor):
    """Atrous spatial pyramid pooling by sum: branches of different dilations score the last map, and are added up.

    Args:
        num_classes: K.
        backbone: a VGG16 of output_stride 8, or any that returns a list of maps, fine -> coarse.
        dilations: of each branch's 3x3 convolution; the default is the paper's ASPP-L, (2, 4, 8, 12) its ASPP-S.
        fc_channels: width of a branch's two hidden layers, the dilated 3x3 and a 1x1 convolution.
        dropout: behind each of them.
        pretrained: a file of weights of the whole model, a path or a URL; see load_pretrained.

    Raises:
        ValueError: no dilations, a width or a dilation below 1; see Segmentor.
        CheckpointError: pretrained weights that cannot be read or are not this model's.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Layer,
        *,
        dilations: Sequence[int] = (6, 12, 18, 24),
        fc_channels: int = 1024,
        dropout: float = 0.5,
        pretrained: str | None = None,
    ) -> None:
        super().__init__(num_classes, backbone)
        check_counts(fc_channels=fc_channels)
        check_lists_of_counts(dilations=dilations)
        self.coarse_stride = self.map_strides[-1]
        self.branches = nn.LayerList()
        for dilation in dilations:
            branch = hidden_layers(
                self.map_channels[-1], fc_channels, kernel_size=3, dilation=dilation, dropout=dropout
            )
            branch.append(classifier(fc_channels, num_classes))
            self.branches.append(branch)
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward_features(self, x: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Returns the coarse logits [N, K, h, w] and the fine features, a list of one backbone map."""
        maps = self.backbone(x)
        first, *others = self.branches
        logits = first(maps[-1])
        for branch in others:
            logits = logits + branch(maps[-1])
        return logits, [maps[self.fine_index]]
