"""The Graph Convolutional Unit: Li and Gupta, "Beyond Grids: Learning Graph Representations for Visual Recognition"
(NeurIPS 2018), and a network of such units on any backbone."""

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.models.segmentors.segmentor import Segmentor, classifier
from paddle_pointrend.models.weights import load_pretrained
from paddle_pointrend.option_checks import check_counts, check_lists_of_counts


class GraphConvolutionalUnit(nn.Layer):
    """Projects a map onto a few vertices, convolves over their graph, and brings the result back to the map.

    Letters: d channels of the map, V vertices, P pixels. Vertex k has a centre w_k and a deviation sigma_k, one value
    for each channel, between 0 and 1.

    Args:
        in_channels: d.
        num_vertices: V.
        out_channels: channels of the result.

    Raises:
        ValueError: one of them is below 1.

    The centres start normal, so close to each other that the first assignments are soft. (The paper starts them by
    k-means over a data set's features and adds a loss on the mean assignment; neither is here.)
    """

    def __init__(self, in_channels: int, num_vertices: int, out_channels: int) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, num_vertices=num_vertices, out_channels=out_channels)
        shape = [num_vertices, in_channels]
        spread = nn.initializer.Normal(0.0, 0.25 / in_channels**0.5)
        self.centers = self.create_parameter(shape, default_initializer=spread)
        self.deviation_logits = self.create_parameter(shape, default_initializer=nn.initializer.Constant(0.0))
        self.convolution = nn.Linear(in_channels, out_channels, bias_attr=False)
        self.norm = nn.BatchNorm1D(out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Returns [N, out_channels, H, W] of a map [N, d, H, W]."""
        pixels = x.flatten(2)
        assignment = self.assign(pixels)
        vertices = self.vertices(pixels, assignment)
        adjacency = vertices.matmul(vertices, transpose_y=True)  # A = Z^T Z
        convolved = self.convolution(adjacency.matmul(vertices))  # A Z^T W
        convolved = F.relu(self.norm(convolved.transpose([0, 2, 1])))
        return convolved.matmul(assignment).reshape([x.shape[0], -1, x.shape[2], x.shape[3]])

    def assign(self, pixels: paddle.Tensor) -> paddle.Tensor:
        """Gives Q, how far each pixel belongs to each vertex, [N, V, P] with sums of 1 over V, of pixels [N, d, P].

        A softmax of -||(x - w_k) / sigma_k||^2 / 2, whose square is multiplied out. Of x^2 only what differs between
        the vertices counts: with the rest, which a softmax ignores, large numbers would be subtracted.
        """
        precisions = F.sigmoid(self.deviation_logits) ** -2
        differences = precisions - precisions.mean(axis=0)
        products = (precisions * self.centers).matmul(pixels)
        norms = (precisions * self.centers**2).sum(axis=1, keepdim=True)
        return F.softmax(products - 0.5 * (differences.matmul(pixels * pixels) + norms), axis=1)

    def vertices(self, pixels: paddle.Tensor, assignment: paddle.Tensor) -> paddle.Tensor:
        """Gives Z^T, the vertices' features [N, V, d], of length 1: sums of (x - w_k) / sigma_k, weighted by Q.

        The paper takes means, whose length is lost as well; but they are not defined for a vertex without pixels.
        """
        sums = assignment.matmul(pixels, transpose_y=True) - assignment.sum(axis=2, keepdim=True) * self.centers
        return F.normalize(sums / F.sigmoid(self.deviation_logits), axis=2)


class GCUNet(Segmentor):
    """Graph Convolutional Units of several sizes on a backbone's last map, side by side with the map itself.

    Args:
        num_classes: K.
        backbone: returns a list of maps, fine -> coarse, as PaddleSeg's backbones do.
        channels: of the map in the units, d, and of the layer before the classifier.
        num_vertices: V of each unit.
        dropout: before the classifier.
        pretrained: a file of weights of the whole model, a path or a URL; see load_pretrained.

    Raises:
        ValueError: no units, channels or vertices below 1; see Segmentor.
        CheckpointError: pretrained weights that cannot be read or are not this model's.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: nn.Layer,
        *,
        channels: int = 256,
        num_vertices: Sequence[int] = (2, 4, 8, 32),
        dropout: float = 0.1,
        pretrained: str | None = None,
    ) -> None:
        super().__init__(num_classes, backbone)
        check_counts(channels=channels)
        check_lists_of_counts(num_vertices=num_vertices)
        self.coarse_stride = self.map_strides[-1]
        self.reduction = _conv_norm_relu(self.map_channels[-1], channels)
        self.units = nn.LayerList(GraphConvolutionalUnit(channels, number, channels) for number in num_vertices)
        self.fusion = _conv_norm_relu(channels * (1 + len(num_vertices)), channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier(channels, num_classes)
        if pretrained is not None:
            load_pretrained(self, pretrained)

    def forward_features(self, x: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Returns the coarse logits [N, K, h, w] and the fine features, a list of one backbone map."""
        maps = self.backbone(x)
        reduced = self.reduction(maps[-1])
        features = [reduced]
        for unit in self.units:
            features.append(unit(reduced))
        fused = self.fusion(paddle.concat(features, axis=1))
        return self.classifier(self.dropout(fused)), [maps[self.fine_index]]


def _conv_norm_relu(in_channels, channels):
    init = nn.initializer.KaimingNormal(fan_in=channels)  # fan out
    conv = nn.Conv2D(in_channels, channels, 1, weight_attr=init, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(channels), nn.ReLU())
