import numpy as np
import paddle
import pytest
import slow_instance_references as slow

from paddle_pointrend.models.instance.roi_align import box_levels, pool_levels, roi_align

BOXES = np.float32(
    [
        [4, 6, 40, 30],  # of the first image
        [-6, -3, 20, 50],  # beyond the border
        [30, 20, 33, 46],  # thinner than a pixel of the map
        [10, 10, 10, 30],  # of no area
        [0, 0, 47, 39],  # of the second
        [41.5, 12.25, 42, 12.5],
        [60, 60, 90, 80],  # outside
    ]
)
COUNTS, STRIDE = [4, 3], 4


def features(dtype="float32"):
    return np.random.default_rng(0).standard_normal((2, 3, 10, 12)).astype(dtype)


def expected(maps, sampling_ratio, size=3):
    images = np.repeat([0, 1], COUNTS)
    return np.stack(
        [slow.roi_align(maps[i], box.astype(float), size, STRIDE, sampling_ratio) for i, box in zip(images, BOXES)]
    )


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_is_the_definition(sampling_ratio, with_gradient):
    maps = paddle.to_tensor(features(), stop_gradient=not with_gradient)
    pooled = roi_align(maps, paddle.to_tensor(BOXES), COUNTS, 3, STRIDE, sampling_ratio).numpy()
    wanted = expected(features(), sampling_ratio)
    wanted[3] = 0  # its samples would all lie on a line; torchvision gives nothing with sampling_ratio 0
    if sampling_ratio:
        pooled, wanted = np.delete(pooled, 3, 0), np.delete(wanted, 3, 0)
    np.testing.assert_allclose(pooled, wanted, atol=2e-5)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gradient_also_of_boxes_thinner_than_a_pixel(sampling_ratio):
    maps = paddle.to_tensor(features("float64"), stop_gradient=False)
    shares = np.random.default_rng(1).standard_normal((len(BOXES), 3, 3, 3))
    shares[3] = 0
    pooled = roi_align(maps, paddle.to_tensor(BOXES.astype("float64")), COUNTS, 3, STRIDE, sampling_ratio)
    (pooled * paddle.to_tensor(shares)).sum().backward()
    for n, c, i, j in [
        (0, 0, 6, 7),
        (0, 1, 9, 8),
        (0, 2, 0, 0),
        (1, 0, 3, 10),
        (1, 2, 3, 9),
        (0, 0, 5, 8),
        (1, 1, 2, 10),
    ]:
        one = np.zeros_like(features("float64"))
        one[n, c, i, j] = 1  # pooling is linear
        np.testing.assert_allclose(maps.grad[n, c, i, j], (expected(one, sampling_ratio) * shares).sum(), atol=1e-9)


def test_boxes_of_an_image_without_any():
    pooled = roi_align(paddle.to_tensor(features()), paddle.to_tensor(BOXES[:2]), [0, 2], 3, STRIDE)
    wanted = np.stack([slow.roi_align(features()[1], box.astype(float), 3, STRIDE, 0) for box in BOXES[:2]])
    np.testing.assert_allclose(pooled.numpy(), wanted, atol=2e-5)


def test_levels_by_area():
    sides = [1, 111, 113, 223, 225, 447, 449, 2000]
    boxes = paddle.to_tensor([[0.0, 0.0, side, side] for side in sides])
    assert box_levels(boxes, [4, 8, 16, 32]).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert box_levels(boxes, [8, 16]).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_boxes_of_several_levels_come_back_in_order():
    random = np.random.default_rng(2)
    levels = [random.standard_normal((2, 3, 64 // 2**i, 80 // 2**i)).astype("float32") for i in range(3)]
    boxes = np.float32([[0, 0, 300, 250], [5, 5, 25, 30], [10, 0, 170, 140], [0, 0, 20, 20], [30, 30, 300, 200]])
    counts, places = [3, 2], [2, 0, 1, 0, 1]
    pooled = pool_levels(list(map(paddle.to_tensor, levels)), [4, 8, 16], paddle.to_tensor(boxes), counts, 2)
    for box, image, level, found in zip(boxes, np.repeat([0, 1], counts), places, pooled.numpy()):
        wanted = slow.roi_align(levels[level][image], box.astype(float), 2, 4 * 2**level, 0)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_no_boxes():
    empty = paddle.zeros([0, 4])
    assert pool_levels([paddle.to_tensor(features())], [4], empty, [0, 0], 7).shape == [0, 3, 7, 7]
