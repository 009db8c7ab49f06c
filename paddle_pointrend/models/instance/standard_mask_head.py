"""Mask R-CNN's mask head.

R: boxes of all images, K: classes, S: side of the masks. Boxes of the first image come first, `counts` says how many
each image has. Levels run fine -> coarse, P2 first.

Source: He et al., "Mask R-CNN" (ICCV 2017); detectron2/modeling/roi_heads/mask_head.py.
"""

import itertools
from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.models.instance.box_head import he_normal
from paddle_pointrend.models.instance.mask_targets import MatchedMasks, mask_loss
from paddle_pointrend.models.instance.roi_align import pool_in_graph, pool_levels
from paddle_pointrend.option_checks import check_counts
from paddle_pointrend.points import Execution


class StandardMaskHead(nn.Layer):
    """Mask R-CNN's: 3x3 convolutions on RoIAlign of the pyramid, a transposed one that doubles, masks of 28 x 28.

    Args:
        num_classes: K.
        in_channels: of every level.
        strides: of the levels, fine -> coarse.
        pool_size: side of the pooled maps, half of the masks'.
        channels: of each convolution.
        num_convs: 3x3 convolutions.

    Raises:
        ValueError: a number of classes, channels or pixels below 1.
    """

    train_on_predicted_boxes = False
    class_factors = ()

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32),
        pool_size: int = 14,
        channels: int = 256,
        num_convs: int = 4,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_channels=in_channels, pool_size=pool_size, channels=channels)
        self.num_classes, self.in_channels, self.strides = num_classes, in_channels, list(strides)
        self.pool_size = pool_size
        zero = nn.initializer.Constant(0.0)
        widths = [in_channels] + [channels] * num_convs
        self.convs = nn.LayerList(
            nn.Conv2D(i, o, 3, padding=1, weight_attr=he_normal(9 * o), bias_attr=zero)
            for i, o in itertools.pairwise(widths)
        )
        self.deconv = nn.Conv2DTranspose(
            widths[-1], channels, 2, stride=2, weight_attr=he_normal(4 * widths[-1]), bias_attr=zero
        )
        self.predictor = nn.Conv2D(
            channels, num_classes, 1, weight_attr=nn.initializer.Normal(0.0, 0.001), bias_attr=zero
        )

    def hidden(self, pooled: paddle.Tensor) -> paddle.Tensor:
        """Computes what the predictor reads, [R, channels, S, S], of maps [R, C, pool_size, pool_size]."""
        x = pooled
        for layer in self.convs:
            x = F.relu(layer(x))
        return F.relu(self.deconv(x))

    def predict(
        self, levels: list[paddle.Tensor], boxes: paddle.Tensor, counts: Sequence[int], classes: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Predicts the masks of the boxes' classes: probabilities [R, S, S], twice, since nothing refines them.

        Args:
            levels, boxes, counts: see the module.
            classes: int64 [R].
        """
        masks = self._of_classes(pool_levels(levels, self.strides, boxes, counts, self.pool_size), classes)
        return masks, masks

    def predict_in_graph(
        self,
        levels: list[paddle.Tensor],
        boxes_of_levels: list[paddle.Tensor],
        classes: paddle.Tensor,
        execution: Execution,
    ) -> tuple[paddle.Tensor]:
        """Predicts as `predict` does, in a traced graph, for one image.

        Args:
            levels: see the module.
            boxes_of_levels: as of pool_in_graph, one an entry of `strides`.
            classes: int64 [R], in the order of these boxes.
            execution: as PointRendMaskHead takes it; nothing is refined here.

        Returns:
            Probabilities [R, S, S].
        """
        return (self._of_classes(pool_in_graph(levels, self.strides, boxes_of_levels, self.pool_size), classes),)

    def _of_classes(self, pooled, classes):
        """Probabilities [R, S, S] of maps [R, C, pool_size, pool_size]."""
        hidden = self.hidden(pooled)
        weight = paddle.gather(self.predictor.weight, classes).flatten(2).transpose([0, 2, 1])
        bias = paddle.gather(self.predictor.bias, classes).reshape([-1, 1, 1])
        logits = paddle.bmm(weight, hidden.flatten(2)) + bias
        return F.sigmoid(logits).reshape([-1, *hidden.shape[2:]])

    def losses(
        self, levels: list[paddle.Tensor], boxes: paddle.Tensor, counts: Sequence[int], matched: MatchedMasks
    ) -> dict[str, paddle.Tensor]:
        """Computes loss_mask, the mean binary cross-entropy of the true class's masks.

        Args:
            levels, boxes, counts: see the module.
            matched: the object of every box.
        """
        pooled = pool_levels(levels, self.strides, boxes, counts, self.pool_size)
        logits = self.predictor(self.hidden(pooled))
        return {"loss_mask": mask_loss(logits, boxes, matched)}
