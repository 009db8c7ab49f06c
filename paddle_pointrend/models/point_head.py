"""The point head: a small MLP that predicts again at points (section 3.3 of the paper)."""

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


class PointHead(nn.Layer):
    """A multi-layer perceptron with weights shared by all points, as 1x1 convolutions.

    Args:
        in_channels: channels of the fine features.
        num_classes: K, classes predicted, and channels of the coarse logits.
        hidden_channels: channels of each hidden layer.
        num_layers: hidden layers.
        coarse_in_every_layer: True puts the coarse logits before every layer (mmsegmentation's default),
            False before the first only (the authors' semantic segmentation head in detectron2).
        predictor_init_std: the last layer starts normal with this deviation; the references use 0.01
            (mmsegmentation) and 0.001 (detectron2).
        start_from_coarse: the last layer starts with the coarse logits as its own, so that the head begins with the
            prediction it is to mend: for a segmentor that is trained already. Needs coarse_in_every_layer.

    Raises:
        ValueError: a size below 1, start_from_coarse without coarse_in_every_layer.

    Hidden layers start as He et al. 2015 (normal, fan out), biases at zero, as in both references.
    """

    def __init__(
        self,
        in_channels,
        num_classes,
        *,
        hidden_channels=256,
        num_layers=3,
        coarse_in_every_layer=True,
        predictor_init_std=0.01,
        start_from_coarse=False,
    ):
        super().__init__()
        sizes = {"in_channels": in_channels, "num_classes": num_classes}
        sizes |= {"hidden_channels": hidden_channels, "num_layers": num_layers}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.coarse_in_every_layer = coarse_in_every_layer
        coarse_again = num_classes if coarse_in_every_layer else 0
        widths = [in_channels + num_classes] + [hidden_channels + coarse_again] * num_layers
        # A 1x1 convolution's fan out is its output channels.
        hidden_init = nn.initializer.Normal(0.0, (2.0 / hidden_channels) ** 0.5)
        self.layers = nn.LayerList(_pointwise(width, hidden_channels, hidden_init) for width in widths[:-1])
        self.predictor = _pointwise(widths[-1], num_classes, nn.initializer.Normal(0.0, predictor_init_std))
        if start_from_coarse:
            if not coarse_in_every_layer:
                raise ValueError("start_from_coarse needs coarse_in_every_layer, or the last layer does not see them")
            weight = self.predictor.weight.numpy()
            weight[:, hidden_channels:, 0] = np.eye(num_classes)
            self.predictor.weight.set_value(weight)

    def forward(self, fine_features, coarse_logits):
        """
        Args:
            fine_features: [N, C, P], sampled at the points.
            coarse_logits: [N, K, P], sampled at the same points.

        Returns:
            Logits [N, K, P].
        """
        if paddle.in_dynamic_mode():
            return self._multiply(fine_features, coarse_logits)
        coarse_logits = _fill_blocks(_as_image(coarse_logits), fine_features.shape[1])
        x = paddle.concat([_as_image(fine_features), coarse_logits], axis=1)
        for layer in self.layers:
            x = F.relu(_convolve(layer, x))
            if self.coarse_in_every_layer:
                x = paddle.concat([x, coarse_logits], axis=1)
        return _convolve(self.predictor, x).flatten(2)

    def _multiply(self, x, coarse_logits):
        """`forward` as matrix products; the coarse logits have one of their own, which saves copying both together.

        What is added is added in place: on CPU a new tensor of this size costs more than the sum.
        """
        for i, layer in enumerate([*self.layers, self.predictor]):
            weight = layer.weight.squeeze(2)
            product = paddle.matmul(weight[:, : x.shape[1]], x)
            if i == 0 or self.coarse_in_every_layer:
                product.add_(paddle.matmul(weight[:, x.shape[1] :], coarse_logits))
            x = product.add_(layer.bias.unsqueeze(1).astype(product.dtype))
            if layer is not self.predictor:
                x = F.relu_(x)
        return x


def _convolve(layer, x):
    """A 1x1 Conv1D on [N, C, 1, P]: one matrix product, which runtimes fuse with its bias and ReLU.

    Conv1D itself adds and takes away that axis around every layer, which keeps them from it.
    """
    weight = layer.weight.unsqueeze(2)
    missing = x.shape[1] - weight.shape[1]
    if missing:  # _fill_blocks has added channels of zeros
        weight = paddle.concat([weight, paddle.zeros([weight.shape[0], missing, 1, 1], weight.dtype)], axis=1)
    return F.conv2d(x, weight, layer.bias)


def _pointwise(in_channels, out_channels, weight_init):
    bias_init = nn.initializer.Constant(0.0)
    return nn.Conv1D(in_channels, out_channels, 1, weight_attr=weight_init, bias_attr=bias_init)


def _as_image(points):
    """[N, C, P] as [N, C, 1, P]; by a reshape: passes of Paddle Inference 3.3 stumble over an unsqueeze here."""
    return points.reshape([0, 0, 1, -1])


def _fill_blocks(points, num_others):
    """[N, C, 1, P] with channels of zeros at the end, so that with num_others they are a multiple of 16.

    ONNX Runtime's fast convolutions on CPU keep their maps in blocks of 16 channels, and stay with that between layers
    if what is concatenated there comes from a convolution as well: an identity here, of a multiple of 4 channels.
    """
    channels = points.shape[1]
    points = F.pad(points, [0, 0, 0, -channels % 4, 0, 0, 0, 0], pad_from_left_axis=True)
    identity = paddle.eye(channels + -(channels + num_others) % 16, points.shape[1])
    return F.conv2d(points, identity.unsqueeze([2, 3]))
