import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.vision.models import vgg16

from paddle_pointrend import SemanticFPN
from paddle_pointrend.models.vgg import VGG16
from paddle_pointrend.models.weights import CheckpointError


@pytest.mark.parametrize(
    ("output_stride", "sizes"),
    [
        (32, [(33, 49), (17, 25), (9, 13), (5, 7), (3, 4)]),
        (16, [(33, 49), (17, 25), (9, 13), (5, 7), (5, 7)]),
        (8, [(33, 49), (17, 25), (9, 13), (9, 13), (9, 13)]),
    ],
)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_five_maps_with_sizes_rounded_up(output_stride, sizes, batch_norm):
    network = VGG16(base_channels=2, output_stride=output_stride, batch_norm=batch_norm)
    network.eval()
    assert network.feat_channels == [2, 4, 8, 16, 16]
    maps = network(paddle.zeros([2, 3, 65, 97]))
    assert [tuple(m.shape) for m in maps] == [(2, c, *size) for c, size in zip(network.feat_channels, sizes)]


def test_it_is_paddle_visions_network_with_the_same_names(tmp_path):
    source = vgg16(num_classes=0, with_pool=False)
    paddle.save(source.state_dict(), str(tmp_path / "vgg16.pdparams"))
    network = VGG16(pretrained=str(tmp_path / "vgg16.pdparams"))
    x = paddle.randn([1, 3, 64, 32])
    maps = network(x)
    for i, layer in enumerate(source.features):
        x = layer(x)
        if isinstance(layer, nn.MaxPool2D):
            np.testing.assert_allclose(maps[[4, 9, 16, 23, 30].index(i)].numpy(), x.numpy(), rtol=1e-4, atol=1e-6)


def test_dilated_convolutions_compute_the_strided_ones_at_every_place():
    """At every second pixel the dilated block gives what the plain block gives on every second pixel."""
    strided, dense = VGG16(base_channels=2), VGG16(base_channels=2, output_stride=8)
    dense.set_state_dict(strided.state_dict())
    plain, dilated = (
        nn.Sequential(*list(network.features)[network.poolings[3] + 1 : network.poolings[4]])
        for network in (strided, dense)
    )
    x = paddle.randn([1, 16, 12, 10])
    for rows, columns in ((0, 0), (1, 1)):
        expected = plain(x[:, :, rows::2, columns::2])
        np.testing.assert_allclose(dilated(x)[:, :, rows::2, columns::2].numpy(), expected.numpy(), atol=1e-5)


def test_semantic_fpn_on_it():
    model = SemanticFPN(
        3, VGG16(base_channels=2, batch_norm=True), backbone_indices=(1, 2, 3, 4), fpn_channels=4, head_channels=4
    )
    assert (model.coarse_stride, model.fine_strides) == (4, [4])
    assert model(paddle.randn([2, 3, 61, 83]))[0].shape == [2, 3, 61, 83]


def test_images_of_four_channels():
    assert VGG16(base_channels=2, in_channels=4)(paddle.zeros([1, 4, 32, 32]))[4].shape == [1, 16, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, r"output_stride must be one of \(8, 16, 32\), got 4"),
        ({"base_channels": 0}, "base_channels must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        VGG16(**options)


def test_weights_of_another_width_are_refused(tmp_path):
    paddle.save(VGG16(base_channels=2).state_dict(), str(tmp_path / "weights.pdparams"))
    with pytest.raises(CheckpointError, match=r"weights\.pdparams does not belong to this VGG16"):
        VGG16(base_channels=3, pretrained=str(tmp_path / "weights.pdparams"))
