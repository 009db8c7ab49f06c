"""PointRend on EfficientNetLite, whose convolutions pad as TensorFlow's: exported, at even and odd sizes."""

import numpy as np
import paddle
import pytest

from paddle_pointrend import PointRendSeg, SemanticFPN
from paddle_pointrend.deploy.runtimes import RUNTIMES, load_runtime
from paddle_pointrend.paddleseg.backbones import EfficientNetLite0


def make_model():
    segmentor = SemanticFPN(5, EfficientNetLite0(), head_levels=[1, 2, 3], fpn_channels=16, head_channels=16)
    model = PointRendSeg(segmentor, {"hidden_channels": 16}, num_subdivision_points=64)
    for layer in (segmentor.head.classifier, model.point_head.predictor):
        layer.weight.set_value(paddle.randn(layer.weight.shape))
    return model


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "paddle-inference"])
def test_exported_network_gives_the_same_labels(runtime, exported_once):
    pytest.importorskip(RUNTIMES[runtime].package)
    if RUNTIMES[runtime].format == "onnx":
        pytest.importorskip("paddle2onnx")
    model, folder = exported_once(make_model, RUNTIMES[runtime].format)
    exported = load_runtime(runtime, folder)
    for size in [(64, 96), (65, 97), (71, 50)]:
        images = np.random.rand(1, 3, *size).astype("float32") * 2 - 1
        with paddle.no_grad():
            expected = model(paddle.to_tensor(images))[0].numpy().argmax(axis=1)
        assert len(np.unique(expected)) > 2
        assert (exported(images).argmax(axis=1) != expected).mean() < 2e-3
