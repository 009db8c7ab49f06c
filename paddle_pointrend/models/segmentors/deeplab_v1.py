"""DeepLab v1: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs"
(ICLR 2015).

Its last stage, the fully connected CRF, is `paddle_pointrend.inference.DenseCRF`.
"""

import paddle
from paddle import nn

from paddle_pointrend.models.segmentors.segmentor import Segmentor, classifier, hidden_layers
from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.option_checks import check_counts


class DeepLabV1(Segmentor):
    """A dilated convolution with a large field of view, and multi-scale prediction (sections 3.1 and 4.3 of the paper).

    With `VGG16(output_stride=8)` this is DeepLab-MSc-LargeFOV.

    Args:
        num_classes: K.
        backbone: a VGG16 of output_stride 8, or any that returns a list of maps, fine -> coarse.
        fc_channels: width of the two layers behind the last map, a dilated 3x3 and a 1x1 convolution.
        dilation: of the 3x3 one.
        multi_scale_channels: width of the two layers that the image and each map but the last go through, a strided
            3x3 and a 1x1 convolution, before the classifier reads all together; 0 leaves them out.
        dropout: behind each of these layers.
        pretrained: a file of weights of the whole model, a path or a URL; see load_pretrained.

    Raises:
        ValueError: widths or a dilation below 1; see Segmentor.
        CheckpointError: pretrained weights that cannot be read or are not this model's.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Layer,
        *,
        fc_channels: int = 1024,
        dilation: int = 12,
        multi_scale_channels: int = 128,
        dropout: float = 0.5,
        pretrained: str | None = None,
    ) -> None:
        super().__init__(num_classes, backbone)
        check_counts(fc_channels=fc_channels, dilation=dilation)
        if multi_scale_channels != 0:
            check_counts(multi_scale_channels=multi_scale_channels)
        self.coarse_stride = self.map_strides[-1]
        self.fully_connected = hidden_layers(
            self.map_channels[-1], fc_channels, kernel_size=3, dilation=dilation, dropout=dropout
        )
        inputs = zip([self.in_channels, *self.map_channels[:-1]], [1, *self.map_strides[:-1]])
        self.scales = nn.LayerList(
            hidden_layers(
                channels, multi_scale_channels, kernel_size=3, stride=self.coarse_stride // stride, dropout=dropout
            )
            for channels, stride in (inputs if multi_scale_channels else ())
        )
        self.classifier = classifier(fc_channels + len(self.scales) * multi_scale_channels, num_classes)
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward_features(self, x: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Returns the coarse logits [N, K, h, w] and the fine features, a list of one backbone map."""
        maps = self.backbone(x)
        features = [self.fully_connected(maps[-1])]
        for scale, finer in zip(self.scales, [x, *maps]):
            features.append(scale(finer))
        return self.classifier(paddle.concat(features, axis=1)), [maps[self.fine_index]]
