import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddle_pointrend import cpu_maps


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 1, 4), (2, 4, 6, 1), (1, 2, 1, 1)])
@pytest.mark.parametrize("layout", ["contiguous", "a view"])
def test_double_is_paddles_interpolation(shape, layout):
    maps = paddle.randn(shape) if layout == "contiguous" else paddle.randn([*shape[:2], shape[3], shape[2]]).mT
    expected = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(cpu_maps.double(maps).numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 5), (2, 1, 4), (3, 4, 1)])
def test_swap_axes_is_a_transposition_in_memory(shape):
    x = paddle.randn(shape)
    swapped = cpu_maps.swap_axes(x)
    np.testing.assert_array_equal(swapped.numpy(), x.numpy().transpose(0, 2, 1))
    assert swapped.is_contiguous()


@pytest.mark.parametrize("function", [cpu_maps.double, lambda x: cpu_maps.swap_axes(x.flatten(2))])
def test_other_tensors_stay_in_paddle(monkeypatch, function):
    x = paddle.randn([1, 2, 3, 4])
    function(x)[0, 0] = 0.0  # the result's memory is its own
    assert float(x.abs().min()) > 0
    for name in ("resize", "transpose"):
        monkeypatch.setattr(cpu_maps.cv2, name, lambda *args, **kwargs: pytest.fail("went through OpenCV"))
    assert function(x.astype("float64")).dtype == paddle.float64
    assert 0 in function(paddle.zeros([0, 2, 3, 4])).shape
    x.stop_gradient = False
    function(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0
