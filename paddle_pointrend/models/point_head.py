"""The point head: a small MLP that predicts again at points (section 3.3 of the paper)."""

import numpy as np
import paddle
from paddle import nn

from paddle_pointrend.option_checks import check_counts
from paddle_pointrend.points import choose_execution


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
            prediction it is to sharpen: for a segmentor that is trained already. Needs coarse_in_every_layer.

    Raises:
        ValueError: a size below 1, start_from_coarse without coarse_in_every_layer.

    Hidden layers start as He et al. 2015 (normal, fan out), biases at zero, as in both references.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        hidden_channels: int = 256,
        num_layers: int = 3,
        coarse_in_every_layer: bool = True,
        predictor_init_std: float = 0.01,
        start_from_coarse: bool = False,
    ) -> None:
        super().__init__()
        check_counts(
            in_channels=in_channels, num_classes=num_classes, hidden_channels=hidden_channels, num_layers=num_layers
        )
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

    def forward(
        self, fine_features: paddle.Tensor, coarse_logits: paddle.Tensor, classes: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """Predicts at points.

        Args:
            fine_features: [N, C, P], sampled at the points.
            coarse_logits: [N, K, P], sampled at the same points.
            classes: int64 [N], the class that is wanted of each, or None for all.

        Returns:
            Logits [N, K, P], or [N, 1, P] of `classes`.
        """
        execution = choose_execution(fine_features, coarse_logits, *self.parameters())
        return execution.point_mlp(self, fine_features, coarse_logits, classes)


def _pointwise(in_channels, out_channels, weight_init):
    bias_init = nn.initializer.Constant(0.0)
    return nn.Conv1D(in_channels, out_channels, 1, weight_attr=weight_init, bias_attr=bias_init)
