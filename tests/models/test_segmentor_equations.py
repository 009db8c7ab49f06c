"""VGG-16, FCN, DeepLab and the Graph Convolutional Unit against their papers' equations in slow NumPy, float64."""

import itertools

import numpy as np
import paddle
import pytest
import slow_references as slow

from paddle_pointrend.models.segmentors import DeepLabV1, DeepLabV2, GCUNet, SkipFCN
from paddle_pointrend.models.segmentors.gcu_net import GraphConvolutionalUnit
from paddle_pointrend.models.vgg import VGG16

SIZE = (45, 35)  # odd at strides 1, 4 and 8


def weights_of(layer):
    """Random weights and biases for a layer, and their values in float64, by name."""
    for parameter in layer.parameters():
        if not parameter.stop_gradient:
            fan_in = max(1, int(np.prod(parameter.shape[1:])))
            parameter.set_value(paddle.randn(parameter.shape) * (2 / fan_in) ** 0.5)
    return {name: tensor.numpy().astype("float64") for name, tensor in layer.state_dict().items()}


def layers_of(weights, prefix):
    """The (weight, bias) pairs below a name, in the order of the layers."""
    names = [name for name in weights if name.startswith(f"{prefix}.") and name.endswith("weight")]
    return [(weights[name], weights[name.replace("weight", "bias")]) for name in names]


def relu(x):
    return np.maximum(x, 0)


def slow_vgg(x, weights, output_stride):
    """Pools 1 to 5 of VGG-16; from output_stride on without strides, the convolutions behind dilated."""
    convolutions, maps = iter(layers_of(weights, "backbone.features")), []
    stride = dilation = 1
    for repeats in (2, 2, 3, 3, 3):
        for _ in range(repeats):
            x = relu(slow.convolve(x, *next(convolutions), dilation=dilation))
        if stride < output_stride:
            x, stride = slow.max_pool(x, 2, 2), 2 * stride
        else:
            x, dilation = slow.max_pool(x, 3, 1), 2 * dilation
        maps.append(x)
    return maps


def slow_hidden(x, layers, **options):
    first, second = layers
    return relu(slow.convolve(relu(slow.convolve(x, *first, **options)), *second))


def compare(model, slow_network):
    weights, x = weights_of(model), np.random.default_rng(0).standard_normal((2, 3, *SIZE))
    model.eval()
    with paddle.no_grad():
        logits, fine = model.forward_features(paddle.to_tensor(x, "float32"))
    maps = slow_vgg(x, weights, model.map_strides[-1])
    expected = slow_network(x, maps, weights)
    assert expected.std() > 0.1
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(fine[0].numpy(), maps[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("coarse_stride", [32, 16, 8])
def test_fcn(coarse_stride, upsampling):
    """Long et al., section 4.2: scores of pool5 through fc6 and fc7, doubled and added to those of pool4, pool3."""

    def slow_fcn(x, maps, weights):
        logits = slow.convolve(
            slow_hidden(maps[4], layers_of(weights, "fully_connected")), weights["score.weight"], weights["score.bias"]
        )
        scores = layers_of(weights, "skip_scores")
        for i, finer in enumerate({32: [], 16: [3], 8: [3, 2]}[coarse_stride]):
            skip = slow.convolve(maps[finer], *scores[i])
            if upsampling == "transposed":
                doubled = slow.transposed_convolve(logits, weights[f"doublings.{i}.weight"])
            else:
                doubled = slow.resize_bilinear(logits, (2 * logits.shape[2], 2 * logits.shape[3]))
            logits = doubled[:, :, : skip.shape[2], : skip.shape[3]] + skip
        return logits

    model = SkipFCN(3, VGG16(base_channels=2), coarse_stride=coarse_stride, fc_channels=5, upsampling=upsampling)
    compare(model, slow_fcn)


def test_fcn_starts_with_zero_scores_and_bilinear_doubling():
    model = SkipFCN(3, VGG16(base_channels=2), fc_channels=5)
    assert float(model.forward_features(paddle.randn([1, 3, 64, 64]))[0].abs().max()) == 0
    x = paddle.randn([2, 3, 6, 7])
    doubled = model.doublings[0](x).numpy()
    expected = slow.resize_bilinear(x.numpy(), (12, 14))  # at the border zeros lie around the transposed convolution
    np.testing.assert_allclose(doubled[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-6)


@pytest.mark.parametrize("multi_scale_channels", [4, 0])
def test_deeplab_v1(multi_scale_channels):
    """Chen et al. 2015, 3.1 and 4.3: atrous VGG-16, a 3x3 fc6 of dilation 12; image and pools 1 to 4 beside it."""

    def slow_deeplab(x, maps, weights):
        features = [slow_hidden(maps[4], layers_of(weights, "fully_connected"), dilation=12)]
        for i, (finer, stride) in enumerate(zip([x, *maps[:4]], [8, 4, 2, 1, 1])):
            if multi_scale_channels:
                features.append(slow_hidden(finer, layers_of(weights, f"scales.{i}"), stride=stride))
        return slow.convolve(np.concatenate(features, axis=1), weights["classifier.weight"], weights["classifier.bias"])

    backbone = VGG16(base_channels=2, output_stride=8)
    compare(DeepLabV1(3, backbone, fc_channels=5, multi_scale_channels=multi_scale_channels), slow_deeplab)


@pytest.mark.parametrize("dilations", [(6, 12, 18, 24), (2, 4)])
def test_deeplab_v2(dilations):
    """Chen et al. 2018, figure 7: each branch fc6, fc7, fc8 with a dilation of its own, then their sum."""

    def slow_deeplab(x, maps, weights):
        total = 0
        for i, dilation in enumerate(dilations):
            *hidden, score = layers_of(weights, f"branches.{i}")
            total = total + slow.convolve(slow_hidden(maps[4], hidden, dilation=dilation), *score)
        return total

    backbone = VGG16(base_channels=2, output_stride=8)
    compare(DeepLabV2(3, backbone, fc_channels=5, dilations=dilations), slow_deeplab)


def slow_graph_projection(x, centers, deviations):
    """Li and Gupta, equations 1 and 2: x [d, H, W] -> Q [H, W, V], Z [d, V]."""
    (_, height, width), num_vertices = x.shape, len(centers)
    assignment = np.zeros((height, width, num_vertices))
    for i, j in itertools.product(range(height), range(width)):
        squares = [np.sum(((x[:, i, j] - centers[k]) / deviations[k]) ** 2) for k in range(num_vertices)]
        assignment[i, j] = np.exp((min(squares) - np.array(squares)) / 2)  # of far pixels each alone would be 0
        assignment[i, j] /= assignment[i, j].sum()
    vertices = np.zeros((x.shape[0], num_vertices))
    for k in range(num_vertices):
        mean = np.zeros(x.shape[0])
        for i, j in itertools.product(range(height), range(width)):
            mean += assignment[i, j, k] * (x[:, i, j] - centers[k]) / deviations[k]
        mean /= assignment[:, :, k].sum()
        vertices[:, k] = mean / np.sqrt((mean**2).sum())
    return assignment, vertices


def slow_graph_unit(x, weights):
    """Projection, A = Z^T Z, f(A Z^T W) with f batch norm and ReLU, and re-projection Q Z~."""
    deviations = 1 / (1 + np.exp(-weights["deviation_logits"]))
    out = []
    for image in x:
        assignment, vertices = slow_graph_projection(image, weights["centers"], deviations)
        adjacency = vertices.T @ vertices
        convolved = adjacency @ vertices.T @ weights["convolution.weight"]
        convolved = (convolved - weights["norm._mean"]) / np.sqrt(weights["norm._variance"] + 1e-5)
        convolved = relu(convolved * weights["norm.weight"] + weights["norm.bias"])
        out.append(np.einsum("hwk,kc->chw", assignment, convolved))
    return np.stack(out)


def random_unit(num_vertices=4):
    unit = GraphConvolutionalUnit(6, num_vertices, 5)
    for name, tensor in unit.state_dict().items():
        random = paddle.rand if name == "norm._variance" else paddle.randn
        tensor.set_value(random(tensor.shape) * (0.5 if name == "centers" else 1))
    unit.eval()
    return unit, {name: tensor.numpy().astype("float64") for name, tensor in unit.state_dict().items()}


@pytest.mark.parametrize("num_vertices", [1, 4, 9])
def test_graph_convolutional_unit(num_vertices):
    unit, weights = random_unit(num_vertices)
    x = np.random.default_rng(1).standard_normal((2, 6, 5, 7)) * 0.7
    expected = slow_graph_unit(x, weights)
    assert expected.std() > 0.01
    np.testing.assert_allclose(unit(paddle.to_tensor(x, "float32")).numpy(), expected, atol=1e-4)


def test_graph_projection_alone():
    unit, weights = random_unit()
    x = np.random.default_rng(2).standard_normal((1, 6, 4, 5)) * 0.7
    deviations = 1 / (1 + np.exp(-weights["deviation_logits"]))
    assignment, vertices = slow_graph_projection(x[0], weights["centers"], deviations)
    pixels = paddle.to_tensor(x, "float32").flatten(2)
    ours = unit.assign(pixels)
    np.testing.assert_allclose(ours[0].numpy(), assignment.reshape(20, 4).T, atol=1e-5)
    np.testing.assert_allclose(unit.vertices(pixels, ours)[0].numpy(), vertices.T, atol=1e-4)


def test_assignments_of_far_pixels():
    """Their squares are common to all vertices, and must not swallow the differences."""
    unit = GraphConvolutionalUnit(64, 8, 5)
    centers = unit.centers.numpy().astype("float64")
    x = np.random.default_rng(4).standard_normal((1, 64, 3, 4)).astype("float32") * 4
    assignment, _ = slow_graph_projection(x[0], centers, np.full_like(centers, 0.5))
    assert assignment.max(axis=2).mean() < 0.9
    ours = unit.assign(paddle.to_tensor(x, "float32").flatten(2))
    np.testing.assert_allclose(ours[0].numpy(), assignment.reshape(12, 8).T, atol=1e-5)


def test_gcu_net_puts_units_beside_the_map():
    model = GCUNet(3, VGG16(base_channels=2, output_stride=8), channels=4, num_vertices=(2, 3))
    weights_of(model)
    model.eval()
    x = paddle.randn([1, 3, *SIZE])
    reduced = model.reduction(model.backbone(x)[-1])
    features = paddle.concat([reduced, model.units[0](reduced), model.units[1](reduced)], axis=1)
    expected = model.classifier(model.fusion(features))
    np.testing.assert_allclose(model.forward_features(x)[0].numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
