"""What is replaced while a model is traced: in eager Paddle, and exported on every runtime that is installed."""

import importlib.util

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddle_pointrend.deploy import tracing
from paddle_pointrend.deploy.export import compare_with_eager
from paddle_pointrend.deploy.runtimes import RUNTIMES, installed_runtimes

EXPORTED_RUNTIMES = [name for name in installed_runtimes() if RUNTIMES[name].format]
SIZES = ((1, 64, 96), (2, 61, 83), (3, 20, 20))


class PooledPyramid(paddle.nn.Layer):
    """Maps pooled to several numbers of cells, as in PSPNet, each brought back to the map's size and added."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 5, 3, padding=1)
        self.pools = paddle.nn.LayerList(paddle.nn.AdaptiveAvgPool2D(cells) for cells in (1, 2, (3, 4), 6))

    def forward(self, x):
        maps = self.conv(x)
        pooled = [pool(maps) for pool in self.pools]
        return [maps + sum(F.interpolate(cells, paddle.shape(x)[2:], mode="bilinear") for cells in pooled)]


@pytest.mark.parametrize("runtime", EXPORTED_RUNTIMES)
def test_adaptive_pooling_of_any_size(exported_once, runtime):
    model, folder = exported_once(PooledPyramid, RUNTIMES[runtime].format)
    for row in compare_with_eager(model, folder, runtime, SIZES):
        assert row["max_difference"] < 1e-5 * row["max_logit"]


@pytest.mark.parametrize("size", [(1, 1), (6, 7), (7, 6), (20, 13)])
@pytest.mark.parametrize("cells", [2, 3, (6, 5), [None, 4]])
def test_adaptive_pooling_as_products_takes_the_means_of_the_same_cells(size, cells):
    x = paddle.randn([2, 3, *size])
    products = tracing.with_products_for_cells(F.adaptive_avg_pool2d)(x, cells)
    np.testing.assert_allclose(products.numpy(), F.adaptive_avg_pool2d(x, cells).numpy(), rtol=1e-5, atol=1e-6)


class Normalised(paddle.nn.Layer):
    """A norm over three axes, as GCNet's, and one over the last."""

    def __init__(self):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 1)
        self.over_all, self.over_channels = paddle.nn.LayerNorm([4, 1, 1]), paddle.nn.LayerNorm(4)
        for norm in (self.over_all, self.over_channels):
            norm.weight.set_value(paddle.randn(norm.weight.shape))
            norm.bias.set_value(paddle.randn(norm.bias.shape))

    def forward(self, x):
        maps = self.conv(x)
        channels_last = self.over_channels(maps.transpose([0, 2, 3, 1]))
        return [self.over_all(F.adaptive_avg_pool2d(maps, 1)) + channels_last.transpose([0, 3, 1, 2])]


@pytest.mark.skipif(importlib.util.find_spec("paddle2onnx") is None, reason="no paddle2onnx")
def test_layer_norms_of_any_axes_convert(exported_once):
    model, folder = exported_once(Normalised, "onnx")
    for row in compare_with_eager(model, folder, None, SIZES):
        assert row["max_difference"] < 1e-5 * row["max_logit"]
