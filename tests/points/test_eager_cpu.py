import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddle_pointrend.points import eager_cpu as cpu_maps


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 1, 4), (2, 4, 6, 1), (1, 2, 1, 1)])
@pytest.mark.parametrize("layout", ["contiguous", "a view"])
def test_double_is_paddles_interpolation(shape, layout):
    maps = paddle.randn(shape) if layout == "contiguous" else paddle.randn([*shape[:2], shape[3], shape[2]]).mT
    expected = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(cpu_maps.double(maps).numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 2), (1, 3, 5), (2, 19, 7, 11), (1, 5, 300, 301)])  # the last: several blocks
def test_second_minus_best_is_the_difference_of_the_two_largest(shape):
    values = np.random.randint(-9, 9, shape).astype("float32")  # many ties
    best = np.sort(values, axis=1)
    result = cpu_maps.second_minus_best(paddle.to_tensor(values)).numpy()
    np.testing.assert_array_equal(result, best[:, -2:-1] - best[:, -1:])


def test_blend_sums_weighted_pixels():
    maps, weights = (np.random.randn(*shape).astype("float32") for shape in [(2, 3, 4, 5), (2, 4, 7)])
    indices = np.random.randint(0, 20, (2, 4, 7))
    expected = np.zeros((2, 3, 7), "float32")
    for n, c, i, p in np.ndindex(2, 3, 4, 7):
        expected[n, c, p] += weights[n, i, p] * maps[n, c].reshape(-1)[indices[n, i, p]]
    result = cpu_maps.blend(*map(paddle.to_tensor, (maps, indices, weights)))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


def test_results_have_memory_of_their_own():
    x = paddle.randn([1, 2, 3, 4])
    before = x.numpy().copy()
    indices, weights = paddle.zeros([1, 4, 6], "int64"), paddle.ones([1, 4, 6])
    for result in (cpu_maps.double(x), cpu_maps.second_minus_best(x), cpu_maps.blend(x, indices, weights)):
        result[:] = 0.0
    np.testing.assert_array_equal(x.numpy(), before)
    assert float(weights.min()) == 1


def test_tensors_that_do_not_suit():
    x = paddle.randn([1, 2, 3, 4])
    assert cpu_maps.suits(x)
    assert not cpu_maps.suits(x.astype("float64"))
    assert not cpu_maps.suits(paddle.zeros([0, 2, 3, 4]))
    x.stop_gradient = False
    assert not cpu_maps.suits(x)
    with paddle.no_grad():
        assert cpu_maps.suits(x)


def test_double_leaves_other_tensors_to_paddle(monkeypatch):
    x = paddle.randn([1, 2, 3, 4])
    monkeypatch.setattr(cpu_maps.cv2, "resize", lambda *args, **kwargs: pytest.fail("went through OpenCV"))
    assert cpu_maps.double(x.astype("float64")).dtype == paddle.float64
    assert 0 in cpu_maps.double(paddle.zeros([0, 2, 3, 4])).shape
    x.stop_gradient = False
    cpu_maps.double(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0
