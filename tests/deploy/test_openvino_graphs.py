"""Changes of networks before OpenVINO compiles them: nothing that they compute may change.

The Core is the process's one: where two of them go the next signal ends the process (docs/design.md).
"""

import numpy as np
import pytest

openvino = pytest.importorskip("openvino")

from openvino import opset13 as ops  # noqa: E402
from tiny_pointrend import small_model  # noqa: E402

from paddle_pointrend.deploy.runtimes import has_bfloat16, openvino_runtime  # noqa: E402
from paddle_pointrend.deploy.runtimes.openvino_graphs import keep_points_exact, resize_planes  # noqa: E402


def network(reader, mode="linear_onnx", axes=None):
    """Doubles maps [N, K, H, W] of any size, then `reader`s what that makes."""
    maps = ops.parameter([-1, -1, -1, -1], np.float32)
    sizes = ops.multiply(ops.shape_of(maps), np.array([1, 1, 2, 2]))
    if axes is not None:
        sizes = ops.gather(sizes, np.array(axes), np.int64(0))
    resized = ops.interpolate(
        maps, sizes, mode, "sizes", coordinate_transformation_mode="half_pixel", axes=axes and np.array(axes)
    )
    return openvino.Model([reader(resized)], [maps])


def flattened(maps):
    return ops.reshape(maps, np.array([0, 0, -1]), special_zero=True)


def ranks(model):
    """Axes of the maps that each node resizes."""
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "Interpolate"]
    return [len(node.get_input_partial_shape(0)) for node in nodes]


def run(model, maps):
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return openvino_runtime._core().compile_model(model, "CPU", options)([maps])[0]


@pytest.mark.parametrize("shape", [(1, 20, 12, 16), (2, 19, 7, 5), (3, 1, 1, 4), (1, 70, 3, 3)])
def test_planes_are_resized_to_the_same_bits(shape):
    changed = network(flattened)
    resize_planes(changed)
    assert ranks(changed) == [3]
    maps = np.random.default_rng(0).standard_normal(shape, "float32")
    found, expected = run(changed, maps), run(network(flattened), maps)
    assert found.shape == (*shape[:2], 4 * shape[2] * shape[3])
    np.testing.assert_array_equal(found, expected)


def test_a_network_compiled_for_one_size_too():
    changed, maps = network(flattened), np.random.default_rng(1).standard_normal((1, 19, 6, 8), "float32")
    expected = run(network(flattened), maps)
    resize_planes(changed)
    changed.reshape([1, 19, 6, 8])
    np.testing.assert_array_equal(run(changed, maps), expected)


@pytest.mark.parametrize(
    "model",
    [
        lambda: network(ops.relu),  # reads maps as they lie
        lambda: network(flattened, mode="nearest"),
        lambda: network(flattened, axes=[2, 3]),
    ],
)
def test_other_networks_stay(model):
    changed = model()
    resize_planes(changed)
    assert ranks(changed) == [4]


@pytest.mark.parametrize("output", ["logits", "label"])
def test_every_doubling_of_an_exported_network_is_of_planes(exported_once, output):
    pytest.importorskip("paddle2onnx")
    network, folder = exported_once(small_model, "onnx", output=output)
    model = openvino_runtime._core().read_model(str(folder / "model.onnx"))
    assert 3 not in ranks(model)
    resize_planes(model)
    assert ranks(model).count(3) == len(network.num_subdivision_points) > 0


def places(columns, change):
    """Where a network computes, in bfloat16, that it samples a map of so many columns: the column of each point."""
    maps = ops.parameter([1, 1, 2, columns], np.float32)
    indices = ops.parameter([1, 1, columns, 1], np.int64)
    across = ops.divide(ops.add(ops.convert(indices, "f32"), np.float32(0.5)), np.float32(columns))
    grid = ops.concat(
        [ops.subtract(ops.multiply(across, np.float32(2)), np.float32(1)), ops.multiply(across, np.float32(0))], 3
    )
    sampled = ops.grid_sample(maps, grid, {"align_corners": False, "mode": "bilinear", "padding_mode": "zeros"})
    kernel = np.ones([1, 1, 1, 1], np.float32)
    convolved = ops.convolution(sampled, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    model = openvino.Model([convolved], [maps, indices])
    change(model)
    compiled = openvino_runtime._core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    # The map is 1 in one column and 0 elsewhere: what is read of it tells whether the point lies there.
    values = np.zeros([1, 1, 2, columns], np.float32)
    values[..., columns - 30] = 1
    return compiled([values, np.arange(columns).reshape(1, 1, columns, 1)])[0].reshape(-1)


@pytest.mark.skipif(not has_bfloat16(), reason="no units for bfloat16")
def test_points_stay_exact_in_bfloat16():
    expected = np.zeros(1024, np.float32)
    expected[-30] = 1
    np.testing.assert_allclose(places(1024, keep_points_exact), expected, atol=1e-2)
    assert np.abs(places(1024, lambda model: None) - expected).max() > 0.1  # what the change is there for
