import numpy as np
import paddle
import pytest
from paddleseg.core.infer import slide_inference

from paddle_pointrend.inference.sliding_window import OutputError, slide, slide_whole, window_starts

CASES = {
    "smaller than the window": ((9, 7), (16, 12), (8, 8)),
    "exactly the window": ((16, 12), (16, 12), (8, 8)),
    "one pixel more": ((17, 13), (16, 12), (16, 12)),
    "no overlap": ((32, 36), (16, 12), (16, 12)),
    "some overlap": ((41, 45), (16, 12), (11, 9)),
    "strides below half": ((30, 33), (16, 12), (3, 5)),
    "last windows nearly on the ones before": ((25, 21), (16, 12), (8, 8)),
    "low and wide": ((5, 50), (16, 12), (16, 4)),
    "high and narrow": ((50, 5), (16, 12), (4, 12)),
    "one pixel": ((1, 1), (1, 1), (1, 1)),
}


def position_network(x):
    """Logits [N, 3, h, w] that depend on where in its window a pixel lies, so that averages show."""
    rows = np.arange(x.shape[2], dtype=np.float32)[:, None] + 0 * x[:, :1]
    columns = np.arange(x.shape[3], dtype=np.float32) + 0 * x[:, :1]
    return np.concatenate([x[:, :1] + rows, x[:, 1:2] * columns, x.sum(1, keepdims=True)], axis=1)


def predict_pixels(windows):
    return position_network(windows.transpose(0, 3, 1, 2))


def by_paddleseg(image, window, stride):
    """PaddleSeg's own sliding window; it takes (width, height)."""

    def model(x):
        return [paddle.to_tensor(position_network(x.numpy()))]

    x = paddle.to_tensor(image.transpose(2, 0, 1)[None])
    return slide_inference(model, x, crop_size=window[::-1], stride=stride[::-1]).numpy()[0]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_averages_logits_as_paddleseg_does(case, batch_size):
    size, window, stride = CASES[case]
    image = np.random.rand(*size, 3).astype(np.float32)
    found = slide_whole(predict_pixels, image, window, stride, batch_size=batch_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_paddleseg(image, window, stride), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_reads_every_row_once_and_in_order_and_its_blocks_tile_the_image(case):
    size, window, stride = CASES[case]
    image = np.random.rand(*size, 3).astype(np.float32)
    rows, covered = [], np.zeros(size, int)

    def read_rows(y1, y2):
        rows.extend(range(y1, y2))
        return image[y1:y2]

    places = []
    for y, x, block in slide(predict_pixels, read_rows, size, window, stride):
        covered[y : y + block.shape[1], x : x + block.shape[2]] += 1
        places.append((y, x))
        assert block.shape[1] <= window[0] and block.shape[2] <= window[1]
    assert rows == list(range(size[0]))
    assert (covered == 1).all()
    assert places == sorted(places)


def test_hands_out_rows_before_it_reads_those_below():
    read_to = []

    def read_rows(y1, y2):
        read_to.append(y2)
        return np.zeros((y2 - y1, 24, 3), np.float32)

    for y, _, block in slide(predict_pixels, read_rows, (1000, 24), (16, 12), (12, 9)):
        assert read_to[-1] <= y + block.shape[1] + 16
    assert read_to[-1] == 1000


def test_windows_go_through_the_network_in_batches():
    batches = []

    def predict(windows):
        batches.append(len(windows))
        return predict_pixels(windows)

    slide_whole(predict, np.zeros((16, 60, 3), np.float32), (16, 12), (16, 12), batch_size=2)
    assert batches == [2, 2, 1]


def test_does_not_change_what_the_network_returned():
    kept = []

    def predict(windows):
        kept.append(predict_pixels(windows))
        kept.append(kept[-1].copy())
        return kept[-2]

    slide_whole(predict, np.random.rand(20, 20, 3).astype(np.float32), (16, 12), (8, 8))
    assert all(np.array_equal(*pair) for pair in zip(kept[::2], kept[1::2]))


def test_window_starts_stay_inside():
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(3, 4, 3) == [0]


@pytest.mark.parametrize("stride", [0, 5])
def test_refuses_strides_that_leave_gaps(stride):
    with pytest.raises(ValueError, match=f"stride is {stride}, expected 1 to the window's 4"):
        window_starts(10, 4, stride)


@pytest.mark.parametrize("wrong", [lambda w: w[..., 0].astype(np.uint8), lambda w: predict_pixels(w)[:, :, ::2]])
def test_refuses_a_network_whose_output_is_not_logits_of_the_windows_size(wrong):
    with pytest.raises(OutputError, match=r"expected logits \[N, K, h, w\]"):
        slide_whole(wrong, np.zeros((20, 20, 3), np.float32), (16, 12), (8, 8))
