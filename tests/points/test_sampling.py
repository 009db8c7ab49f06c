import numpy as np
import paddle
import pytest
import slow_references as slow

from paddle_pointrend import point_sample

RNG = np.random.default_rng(7)


class TestPointSample:
    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_equals_the_loop_inside_at_the_border_and_outside(self, mode, dtype):
        features = RNG.standard_normal((2, 3, 5, 8)).astype(dtype)
        coords = RNG.uniform(-0.3, 1.3, (2, 200, 2)).astype(dtype)
        sampled = point_sample(paddle.to_tensor(features), paddle.to_tensor(coords), mode=mode).numpy()
        assert sampled.shape == (2, 3, 200)
        assert sampled.dtype == dtype
        np.testing.assert_allclose(sampled, slow.point_sample(features, coords, mode), atol=1e-5)

    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    def test_pixel_centres_give_the_pixels(self, mode):
        height, width = 7, 10
        features = RNG.standard_normal((1, 4, height, width)).astype("float32")
        y, x = np.divmod(np.arange(height * width), width)
        coords = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=1)[None].astype("float32")
        sampled = point_sample(paddle.to_tensor(features), paddle.to_tensor(coords), mode=mode).numpy()
        np.testing.assert_allclose(sampled, features.reshape(1, 4, -1), atol=1e-5)

    def test_the_edge_of_the_map_is_half_zero(self):
        sampled = point_sample(paddle.ones([1, 1, 4, 4]), paddle.to_tensor([[[0.0, 0.5], [1.0, 0.5], [0.0, 0.0]]]))
        np.testing.assert_allclose(sampled.numpy().ravel(), [0.5, 0.5, 0.25], atol=1e-6)

    def test_nearest_between_two_pixels_takes_the_even_one(self):
        coords = paddle.to_tensor([[[i / 8, 0.5] for i in range(8)]])
        sampled = point_sample(paddle.arange(8.0).reshape([1, 1, 1, 8]), coords, mode="nearest")
        np.testing.assert_array_equal(sampled.numpy().ravel(), [0, 0, 2, 2, 4, 4, 6, 6])

    def test_align_corners_puts_0_and_1_on_the_outer_pixels(self):
        coords = paddle.to_tensor([[[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]]])
        sampled = point_sample(paddle.to_tensor([[[[3.0, 4.0, 9.0]]]]), coords, align_corners=True)
        np.testing.assert_allclose(sampled.numpy().ravel(), [3, 9, 4], atol=1e-6)

    def test_gradients_to_features_and_coordinates(self):
        features = RNG.standard_normal((1, 2, 3, 4))
        # Within the cells between pixel centres: at the centres the slope jumps.
        cells = RNG.integers(0, 3, (1, 6, 2)) + RNG.uniform(0.1, 0.9, (1, 6, 2))
        coords = (cells + 0.5) / np.array([4, 3])
        tensors = [paddle.to_tensor(array, stop_gradient=False) for array in (features, coords)]
        (point_sample(*tensors) ** 2).sum().backward()
        for tensor, expected in (
            (
                tensors[0],
                slow.numeric_gradient(lambda f: (slow.point_sample(f, coords) ** 2).sum(), features),
            ),
            (
                tensors[1],
                slow.numeric_gradient(lambda c: (slow.point_sample(features, c) ** 2).sum(), coords),
            ),
        ):
            assert np.abs(expected).max() > 0.1
            np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-5, atol=1e-6)

    def test_no_points(self):
        sampled = point_sample(paddle.ones([2, 3, 4, 4]), paddle.zeros([2, 0, 2]))
        assert list(sampled.shape) == [2, 3, 0]

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_does_not_round_the_coordinates(self, dtype):
        # In half precision 2 * 0.99 - 1 would miss column 989.5 of 1000 by tenths of a pixel.
        ramp = (paddle.arange(1000.0) - 989).reshape([1, 1, 1, 1000]).astype(dtype)
        sampled = point_sample(ramp, paddle.to_tensor([[[0.99, 0.5]]]))
        assert sampled.dtype == ramp.dtype
        assert sampled.item() == pytest.approx(0.5, abs=0.01)

    @pytest.mark.parametrize(
        ("features", "coords", "mode", "error", "message"),
        [
            ((2, 4, 4), (2, 3, 2), "bilinear", ValueError, r"\[N, C, H, W\], got shape \[2, 4, 4\]"),
            ((2, 1, 4, 4), (2, 3, 3), "bilinear", ValueError, r"\[N, P, 2\], got shape \[2, 3, 3\]"),
            ((2, 1, 4, 4), (2, 2), "bilinear", ValueError, r"\[N, P, 2\], got shape \[2, 2\]"),
            ((2, 1, 4, 4), (3, 3, 2), "bilinear", ValueError, "same number of images, got 2 and 3"),
            ((2, 1, 4, 4), (2, 3, 2), "bicubic", ValueError, "got 'bicubic'"),
        ],
    )
    def test_wrong_arguments(self, features, coords, mode, error, message):
        with pytest.raises(error, match=message):
            point_sample(paddle.zeros(features), paddle.zeros(coords), mode=mode)

    def test_integers_are_refused(self):
        with pytest.raises(TypeError, match=r"floating point, got .*int64"):
            point_sample(paddle.zeros([1, 1, 4, 4], "int64"), paddle.zeros([1, 2, 2]))


@pytest.mark.torch
class TestAgainstTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.mark.parametrize("align_corners", [False, True])
    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    def test_point_sample(self, torch, mode, align_corners):
        features = RNG.standard_normal((2, 3, 6, 9)).astype("float32")
        coords = RNG.uniform(-0.2, 1.2, (2, 300, 2)).astype("float32")
        ours = point_sample(
            paddle.to_tensor(features), paddle.to_tensor(coords), mode=mode, align_corners=align_corners
        )
        theirs = torch_point_sample(torch, features, coords, mode, align_corners)
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)

    def test_nearest_ties(self, torch):
        features = np.arange(1, 129, dtype="float32").reshape(1, 1, 8, 16)
        y, x = np.divmod(np.arange(9 * 17), 17)
        coords = np.stack([x / 16, y / 8], axis=1)[None].astype("float32")
        ours = point_sample(paddle.to_tensor(features), paddle.to_tensor(coords), mode="nearest")
        np.testing.assert_array_equal(ours.numpy(), torch_point_sample(torch, features, coords, "nearest", False))


def torch_point_sample(torch, features, coords, mode, align_corners):
    grid = 2.0 * torch.tensor(coords).unsqueeze(2) - 1.0
    sample = torch.nn.functional.grid_sample
    return sample(torch.tensor(features), grid, mode=mode, align_corners=align_corners).squeeze(3).numpy()
