"""Small PointRendSegs: on a tiny backbone, and on given maps."""

import paddle
import slow_references as slow
from paddle import nn
from tiny_backbone import TinyBackbone

from paddle_pointrend import PointRendSeg, SemanticFPN


class FixedSegmentor(nn.Layer):
    """Yields given maps, so that what PointRendSeg makes of them can be followed."""

    def __init__(self, coarse_logits, fine_features, coarse_stride=4):
        super().__init__()
        self.maps = coarse_logits, fine_features
        self.num_classes = coarse_logits.shape[1]
        self.coarse_stride = coarse_stride
        self.fine_channels = [features.shape[1] for features in fine_features]

    def forward_features(self, x):
        return self.maps


def small_model(num_classes=3, *, backbone=None, **options):
    options = {"num_train_points": 20, "num_subdivision_points": 30, **options}
    segmentor = SemanticFPN(num_classes, backbone or TinyBackbone(), fpn_channels=8, head_channels=8)
    return PointRendSeg(segmentor, {"hidden_channels": 8}, **options)


def spread_predictor(model):
    """Large weights in both classifiers: with the initial ones every logit is almost 0."""
    for layer in (model.segmentor.head.classifier, model.point_head.predictor):
        layer.weight.set_value(paddle.randn(layer.weight.shape))
    return model


def numpy_head(head):
    layers = [*head.layers, head.predictor]
    weights = [layer.weight.numpy()[:, :, 0].astype("float64") for layer in layers]
    biases = [layer.bias.numpy().astype("float64") for layer in layers]
    return lambda fine, coarse: slow.point_mlp(fine, coarse, weights, biases, head.coarse_in_every_layer)
