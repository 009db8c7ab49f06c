"""Every way of executing a refinement gives the same as Paddle's own operations, and as a slow loop in NumPy."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import slow_references as slow

from paddle_pointrend import PointHead, point_sample, scatter_paddle
from paddle_pointrend.points import Subdivision, choose_execution, eager_cpu, generic, graph
from paddle_pointrend.points.eager_cpu import EAGER_CPU, EAGER_CPU_WITH_GRADIENTS
from paddle_pointrend.points.generic import GENERIC
from paddle_pointrend.points.graph import ONNX_GRAPH, PADDLE_GRAPH

RNG = np.random.default_rng(7)
EXECUTIONS = (GENERIC, EAGER_CPU, EAGER_CPU_WITH_GRADIENTS, PADDLE_GRAPH, ONNX_GRAPH)
every_execution = pytest.mark.parametrize("execution", EXECUTIONS, ids=lambda execution: execution.name)


def random(*shape):
    return paddle.to_tensor(RNG.standard_normal(shape).astype("float32"))


class TestChoice:
    def test_eager(self):
        x, weight = random(1, 2, 3, 4), paddle.create_parameter([2], "float32")
        assert choose_execution(x) is EAGER_CPU
        assert choose_execution(x, weight) is EAGER_CPU_WITH_GRADIENTS  # a frozen map, and a head that learns
        with paddle.no_grad():
            assert choose_execution(x, weight) is EAGER_CPU
        assert choose_execution(x.astype("float64")) is GENERIC
        assert choose_execution(x, weight.astype("bfloat16")) is GENERIC
        assert choose_execution(paddle.zeros([0, 2, 3, 4])) is EAGER_CPU_WITH_GRADIENTS

    def test_a_traced_graph(self):
        chosen = []

        def traced(x):
            chosen.append(choose_execution(x))
            return x + 1

        spec = [paddle.static.InputSpec([None, 3], "float32")]
        paddle.jit.to_static(traced, input_spec=spec, full_graph=True)(paddle.zeros([2, 3]))
        assert chosen
        assert all(execution is PADDLE_GRAPH for execution in chosen)


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (8, 9), (1, 1)])  # few pixels are read by a matrix product
@every_execution
def test_samplers_read_small_and_large_maps_also_outside(execution, size):
    maps = random(3, 4, *size)
    coords = paddle.to_tensor(RNG.uniform(-0.3, 1.3, (3, 20, 2)).astype("float32"))
    expected = slow.point_sample(maps.numpy(), coords.numpy())
    np.testing.assert_allclose(execution.sampler(maps)(coords).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("num_classes", [1, 3])
@every_execution
def test_heads_predict_one_class_of_each_image(execution, num_classes):
    head = PointHead(4, num_classes, hidden_channels=8, predictor_init_std=1.0)
    fine, coarse, classes = random(3, 4, 6), random(3, num_classes, 6), np.array([2, 0, 1]) % num_classes
    every_class = execution.point_mlp(head, fine, coarse)
    predicted = execution.point_mlp(head, fine, coarse, paddle.to_tensor(classes))
    expected = every_class.numpy()[np.arange(3), classes][:, None]
    np.testing.assert_allclose(predicted.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("threshold", [None, 0.8])
@pytest.mark.parametrize("num_classes", [1, 2, 5, 19])
@every_execution
def test_all_refine_alike(execution, num_classes, threshold):
    coarse, fine = random(2, num_classes, 6, 5), random(2, 4, 24, 20)
    head = PointHead(4, num_classes, hidden_channels=8, predictor_init_std=1.0)

    def refined(execution):
        samplers = [execution.sampler(features) for features in (fine, coarse)]
        predict = lambda coords: execution.point_mlp(head, *(sample(coords) for sample in samplers))  # noqa: E731
        subdivision = Subdivision(predict, execution, threshold=threshold)
        logits = subdivision.run(coarse, [40, 90])
        step = subdivision.step(subdivision.after(coarse, [40]), 90)
        np.testing.assert_array_equal(subdivision.put_labels(step).numpy(), logits.numpy().argmax(axis=1))
        return logits.numpy()

    with paddle.no_grad():
        result, expected = refined(execution), refined(GENERIC)
    assert result.shape == (2, num_classes, 24, 20)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - slow.resize_bilinear(coarse.numpy(), (24, 20))).max() > 0.5


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 1, 4), (2, 4, 6, 1), (1, 2, 1, 1)])
@pytest.mark.parametrize("layout", ["contiguous", "a view"])
def test_upsample_is_paddles_interpolation(shape, layout):
    maps = random(*shape) if layout == "contiguous" else random(*shape[:2], shape[3], shape[2]).mT
    expected = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(eager_cpu.upsample(maps).numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 1), (2, 2), (1, 3, 5), (2, 19, 7, 11), (1, 5, 300, 301)])  # the last: blocks
@every_execution
def test_uncertainty_is_the_difference_of_the_two_largest(execution, shape):
    values = RNG.integers(-9, 9, shape).astype("float32")  # many ties
    result = execution.uncertainty(paddle.to_tensor(values)).numpy()
    np.testing.assert_array_equal(result, slow.uncertainty(values))


@pytest.mark.parametrize("num_classes", [2, 3, 5, 11, 19, 20, 21, 150])
def test_the_grid_of_classes_is_the_smallest_nearly_square_one(num_classes):
    rows, columns = graph.class_grid(num_classes)
    assert (rows - 1) * columns < num_classes <= rows * columns
    assert columns <= rows <= columns + 2


class TestSampler:
    @pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 4, 1, 6), (3, 1, 8, 8)])
    @every_execution
    def test_is_point_sample_inside_at_the_border_and_outside(self, execution, shape):
        features, coords = random(*shape), RNG.uniform(-0.3, 1.3, (shape[0], 50, 2)).astype("float32")
        result = execution.sampler(features)(paddle.to_tensor(coords)).numpy()
        np.testing.assert_allclose(result, point_sample(features, paddle.to_tensor(coords)).numpy(), atol=1e-5)
        np.testing.assert_allclose(result, slow.point_sample(features.numpy(), coords), atol=1e-5)

    def test_gradients_are_those_of_point_sample(self):
        arrays = RNG.standard_normal((2, 3, 5, 7)).astype("float32"), RNG.random((2, 20, 2)).astype("float32")
        gradients = []
        for sampler in (eager_cpu.gathering_sampler, generic.sampler):
            features, coords = (paddle.to_tensor(array, stop_gradient=False) for array in arrays)
            (sampler(features)(coords) ** 2).sum().backward()
            gradients.append((features.grad.numpy(), coords.grad.numpy()))
        for ours, theirs in zip(*gradients):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)

    def test_graphs_for_other_runtimes_keep_grid_sample(self):
        assert ONNX_GRAPH.sampler is GENERIC.sampler
        assert PADDLE_GRAPH.sampler is not GENERIC.sampler


def test_weighted_sum_of_pixels_is_the_loop():
    maps, weights = (RNG.standard_normal(shape).astype("float32") for shape in [(2, 3, 4, 5), (2, 4, 7)])
    indices = RNG.integers(0, 20, (2, 4, 7))
    expected = np.zeros((2, 3, 7), "float32")
    for n, c, i, p in np.ndindex(2, 3, 4, 7):
        expected[n, c, p] += weights[n, i, p] * maps[n, c].reshape(-1)[indices[n, i, p]]
    result = eager_cpu.weighted_sum_of_pixels(*map(paddle.to_tensor, (maps, indices, weights)))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


def test_results_have_memory_of_their_own():
    x = random(1, 2, 3, 4)
    before = x.numpy().copy()
    coords = paddle.full([1, 6, 2], 0.4)
    for result in (eager_cpu.upsample(x), eager_cpu.uncertainty(x), eager_cpu.sampler(x)(coords)):
        result[:] = 0.0
    np.testing.assert_array_equal(x.numpy(), before)


@pytest.mark.parametrize("spare_classes", [0, 2])
@every_execution
def test_write_points_is_scatter_paddle(execution, spare_classes):
    logits = RNG.standard_normal((2, 3 + spare_classes, 4, 5)).astype("float32")
    indices = np.stack([RNG.permutation(20)[:6] for _ in range(2)])
    new = RNG.standard_normal((2, 3, 6)).astype("float32")
    result = execution.write_points(*map(paddle.to_tensor, (logits, indices, new))).numpy()
    index = np.broadcast_to(indices[:, None], new.shape).copy()
    x, index, new = map(paddle.to_tensor, (logits[:, :3].reshape(2, 3, 20), index, new))
    expected = scatter_paddle(x, index, new, axis=2)
    np.testing.assert_array_equal(result[:, :3].reshape(2, 3, 20), expected.numpy())
    np.testing.assert_array_equal(result[:, 3:], logits[:, 3:])


@pytest.mark.parametrize("coarse_in_every_layer", [True, False])
@pytest.mark.parametrize("num_classes", [3, 19])
@every_execution
def test_point_mlp_is_the_slow_one(execution, num_classes, coarse_in_every_layer):
    head = PointHead(6, num_classes, hidden_channels=8, coarse_in_every_layer=coarse_in_every_layer)
    layers = [*head.layers, head.predictor]
    for parameter in head.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    fine, coarse = random(2, 6, 11), random(2, num_classes, 11)
    weights, biases = [layer.weight.numpy()[:, :, 0] for layer in layers], [layer.bias.numpy() for layer in layers]
    expected = slow.point_mlp(fine.numpy(), coarse.numpy(), weights, biases, coarse_in_every_layer)
    result = execution.point_mlp(head, fine, coarse).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
