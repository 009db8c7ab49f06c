import dataclasses

import pytest

from paddle_pointrend.inference import ONE_PASS, InferenceOptions


def test_default_is_one_pass_over_the_whole_image():
    assert InferenceOptions() == ONE_PASS
    assert not ONE_PASS.augments
    assert not ONE_PASS.slides_over(10**5, 10**5)


@pytest.mark.parametrize(
    ("options", "augments"),
    [
        ({"scales": [1]}, False),
        ({"scales": (1.0,)}, False),
        ({"scales": (0.5,)}, True),
        ({"scales": (1, 1)}, True),
        ({"flip_horizontal": True}, True),
        ({"flip_vertical": True}, True),
        ({"window": (8, 8)}, False),
    ],
)
def test_augments_where_the_network_runs_on_more_than_the_image(options, augments):
    assert InferenceOptions(**options).augments == augments


def test_slides_over_what_is_larger_than_the_window():
    options = InferenceOptions(window=[24, 16])  # width, height
    assert [options.slides_over(*size) for size in [(16, 24), (17, 24), (16, 25), (3, 3)]] == [False, True, True, False]


def test_windows_go_by_three_quarters_unless_told():
    assert InferenceOptions(window=[25, 1]).window_stride == (18, 1)
    assert InferenceOptions(window=[25, 16], window_stride=[25, 4]).window_stride == (25, 4)


def test_options_can_be_taken_apart_and_put_together():
    options = InferenceOptions((0.5, 1), True, False, [24, 16])
    assert InferenceOptions(**dataclasses.asdict(options)) == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": ()}, r"scales must be above 0, got \[\]"),
        ({"scales": (1.0, 0.0)}, r"scales must be above 0, got \[1.0, 0.0\]"),
        ({"scales": (float("nan"),)}, "scales must be above 0"),
        ({"scales": (float("inf"),)}, "scales must be above 0"),
        ({"window": 512}, r"window is 512, expected \(width, height\), whole numbers of at least 1"),
        ({"window": (8.5, 8)}, r"window is \(8.5, 8\)"),
        ({"window": (8, 8), "window_stride": (0, 8)}, r"window_stride is \(0, 8\)"),
        ({"window": (8, 8), "window_stride": (8, 9)}, r"window_stride \[8, 9\] is larger than the window \[8, 8\]"),
        ({"window_stride": (8, 8)}, r"window_stride is \(8, 8\) without a window"),
    ],
)
def test_refuses_mistaken_options(options, message):
    with pytest.raises(ValueError, match=message):
        InferenceOptions(**options)
