"""The point head on boxes, one class a box: as it is, and with what is linear computed beforehand, which takes half the
time on a CPU.

R: boxes of one image, K: classes, C: channels, P: points of a box.
"""

from collections.abc import Callable

import paddle
import paddle.nn.functional as F

from paddle_pointrend.models.instance.regions import sampler_in_boxes
from paddle_pointrend.models.point_head import PointHead
from paddle_pointrend.points import Execution
from paddle_pointrend.points.eager_cpu import EAGER_CPU, pixel_shares

PredictPoints = Callable[[paddle.Tensor], paddle.Tensor]


class RegionPoints:
    """Predicts at points of an image's boxes.

    Reading a map between its pixels is linear, and so is a layer before its ReLU. So (float32 on a CPU, without
    gradients, where there are more points than pixels) the first layer's product with the features is computed for the
    whole map; and what the coarse logits and the biases add to all layers is one product, of the coarse masks with
    the shares that their pixels have in the points.

    Args:
        head: the point head.
        features: [1, C, H, W] of the image.
        stride: of the features.
        execution: how it is executed.
        num_points: of all boxes and steps together.
    """

    def __init__(
        self, head: PointHead, features: paddle.Tensor, stride: int, execution: Execution, num_points: int
    ) -> None:
        self.head, self.features, self.stride, self.execution = head, features, stride, execution
        weight = head.layers[0].weight[:, : head.in_channels]
        self.first_product = None
        if execution is EAGER_CPU and num_points > features.shape[2] * features.shape[3]:
            self.first_product = F.conv2d(features, weight.unsqueeze(3))

    def of_boxes(self, boxes: paddle.Tensor, coarse_logits: paddle.Tensor, classes: paddle.Tensor) -> PredictPoints:
        """Prepares some boxes.

        Args:
            boxes: [R, 4].
            coarse_logits: [R, K, h, w].
            classes: int64 [R], what is predicted of each.

        Returns:
            A function of coords [R, P, 2], (x, y) in [0, 1] of the boxes: logits [R, 1, P].
        """
        counts = [boxes.shape[0]]
        if self.first_product is None:
            fine = sampler_in_boxes(self.features, self.stride, boxes, counts, self.execution)
            coarse = self.execution.sampler(coarse_logits)
            return lambda coords: self.head(fine(coords), coarse(coords), classes)
        first = sampler_in_boxes(self.first_product, self.stride, boxes, counts, self.execution)
        added = self._what_is_added(coarse_logits, classes)
        weight = paddle.gather(self.head.predictor.weight, classes).transpose([0, 2, 1])
        size = coarse_logits.shape[2:]

        def predict(coords):
            return self._predict(first(coords), added(pixel_shares(coords, *size)), weight)

        return predict

    def _what_is_added(self, coarse_logits, classes):
        """A function of shares [R, P, h * w]: what coarse logits and biases add to every layer, [R, width, P] each."""
        pixels, weights, biases = coarse_logits.flatten(2), [], []
        for i, layer in enumerate([*self.head.layers, self.head.predictor]):
            weight, bias = layer.weight.squeeze(2), layer.bias.unsqueeze(1)
            inputs = self.head.in_channels if i == 0 else self.head.layers[0].weight.shape[0]
            weight = weight[:, inputs:]
            if weight.shape[1] == 0:
                weight = paddle.zeros([weight.shape[0], pixels.shape[1]])
            if layer is self.head.predictor:
                weight, bias = (paddle.gather(parameter, classes).unsqueeze(1) for parameter in (weight, bias))
            weights.append(paddle.matmul(weight, pixels))
            biases.append(bias.expand([pixels.shape[0], -1, 1]))
        widths = [weight.shape[1] for weight in weights]
        combined = paddle.concat([paddle.concat(weights, axis=1), paddle.concat(biases, axis=1)], axis=2)

        def added(shares):
            ones = paddle.ones([*shares.shape[:2], 1])
            whole = paddle.matmul(combined, paddle.concat([shares, ones], axis=2), transpose_y=True)
            return paddle.split(whole, widths, axis=1)

        return added

    def _predict(self, x, added, weight):
        width = x.shape[1]
        x = F.relu_(x + added[0])  # not in place: x is a transposed view, and slow to write
        for layer, add in zip(self.head.layers[1:], added[1:]):
            x = F.relu_(paddle.matmul(layer.weight.squeeze(2)[:, :width], x).add_(add))
        return paddle.bmm(weight[:, :, :width], x).add_(added[-1])
