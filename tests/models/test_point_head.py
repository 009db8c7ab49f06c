import numpy as np
import paddle
import pytest
import slow_references as slow

from paddle_pointrend import PointHead


def weights_and_biases(head):
    layers = [*head.layers, head.predictor]
    return [layer.weight.numpy()[:, :, 0] for layer in layers], [layer.bias.numpy() for layer in layers]


@pytest.mark.parametrize("coarse_in_every_layer", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_equals_the_numpy_mlp(num_layers, coarse_in_every_layer):
    head = PointHead(6, 4, hidden_channels=8, num_layers=num_layers, coarse_in_every_layer=coarse_in_every_layer)
    for parameter in head.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    fine, coarse = paddle.randn([2, 6, 11]), paddle.randn([2, 4, 11])
    expected = slow.point_mlp(fine.numpy(), coarse.numpy(), *weights_and_biases(head), coarse_in_every_layer)
    np.testing.assert_allclose(head(fine, coarse).numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_classes", [2, 3, 19, 150])
@pytest.mark.parametrize(("coarse_in_every_layer", "again"), [(True, 1), (False, 0)])
def test_shapes(num_classes, coarse_in_every_layer, again):
    head = PointHead(10, num_classes, hidden_channels=16, coarse_in_every_layer=coarse_in_every_layer)
    widths = [layer.weight.shape[1] for layer in [*head.layers, head.predictor]]
    assert widths == [10 + num_classes] + [16 + again * num_classes] * 3
    out = head(paddle.randn([2, 10, 5]), paddle.randn([2, num_classes, 5]))
    assert list(out.shape) == [2, num_classes, 5]


def test_points_do_not_see_each_other():
    head = PointHead(3, 2, hidden_channels=8)
    fine, coarse = paddle.randn([1, 3, 9]), paddle.randn([1, 2, 9])
    alone = head(fine[:, :, 4:5], coarse[:, :, 4:5])
    np.testing.assert_allclose(head(fine, coarse)[:, :, 4:5].numpy(), alone.numpy(), atol=1e-6)


@pytest.mark.parametrize("predictor_std", [0.01, 0.001])
def test_initialisation_is_the_references(predictor_std):
    head = PointHead(256, 150, predictor_init_std=predictor_std)
    deviations = [(layer, (2 / 256) ** 0.5) for layer in head.layers] + [(head.predictor, predictor_std)]
    for layer, deviation in deviations:
        weight = layer.weight.numpy()
        assert weight.std() == pytest.approx(deviation, rel=0.02)
        assert abs(weight.mean()) < 0.02 * deviation
        assert np.abs(weight).max() > 3 * deviation  # normal, not uniform
        assert (layer.bias.numpy() == 0).all()


def test_gradients_reach_both_inputs_and_every_layer():
    head = PointHead(5, 3, hidden_channels=8)
    fine, coarse = paddle.randn([2, 5, 7]), paddle.randn([2, 3, 7])
    fine.stop_gradient = coarse.stop_gradient = False
    (head(fine, coarse) ** 2).sum().backward()
    for tensor in [fine, coarse, *head.parameters()]:
        assert float(tensor.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", ["in_channels", "num_classes", "hidden_channels", "num_layers"])
def test_sizes_below_1_are_refused(name):
    sizes = {"in_channels": 4, "num_classes": 3, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got 0"):
        PointHead(**sizes)


def test_start_from_coarse_begins_with_the_coarse_logits():
    fine, coarse = paddle.randn([2, 6, 11]), paddle.randn([2, 4, 11])
    head = PointHead(6, 4, hidden_channels=8, predictor_init_std=0.0, start_from_coarse=True)
    np.testing.assert_allclose(head(fine, coarse).numpy(), coarse.numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="needs coarse_in_every_layer"):
        PointHead(6, 4, coarse_in_every_layer=False, start_from_coarse=True)
