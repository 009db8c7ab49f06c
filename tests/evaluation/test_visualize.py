"""Pictures, pixel by pixel."""

import numpy as np
import pytest

from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.evaluation import visualize

PALETTE = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0]])
GREY = np.full((4, 6, 3), 100, np.uint8)


def test_default_palette_is_voc_without_its_black():
    palette = default_palette(21)
    np.testing.assert_array_equal(palette[:4], [[128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]])
    np.testing.assert_array_equal(palette[14], [192, 128, 128])  # VOC's "person"
    everything = default_palette(255)
    assert everything.dtype == np.uint8 and len({tuple(color) for color in everything}) == 255
    assert everything.any(axis=1).all()
    np.testing.assert_array_equal(default_palette(300), np.vstack([everything, everything[:45]]))
    with pytest.raises(ValueError, match="num_classes is 0, expected at least 1"):
        default_palette(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_colorize_gives_each_class_its_colour_and_black_to_the_rest(dtype):
    label = np.array([[0, 1], [2, 255]], dtype)
    picture = visualize.colorize(label, PALETTE)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, [[PALETTE[0], PALETTE[1]], [PALETTE[2], [0, 0, 0]]])
    if dtype == np.int64:
        np.testing.assert_array_equal(visualize.colorize(np.array([[-2, 3]]), PALETTE), np.zeros((1, 2, 3)))


def test_overlay_mixes_by_alpha_and_leaves_ignored_pixels():
    label = np.ones((4, 6), int)
    label[0, 0] = 255
    mixed = visualize.overlay(GREY, label, PALETTE, alpha=0.25)
    np.testing.assert_array_equal(mixed[0, 0], [100, 100, 100])
    np.testing.assert_allclose(mixed[1, 1], 0.75 * 100 + 0.25 * PALETTE[1], atol=1)
    np.testing.assert_array_equal(visualize.overlay(GREY, label, PALETTE, alpha=0), GREY)
    with pytest.raises(ValueError, match="alpha is 2"):
        visualize.overlay(GREY, label, PALETTE, alpha=2)


def test_points_land_on_their_pixels():
    height, width = 4, 6
    rows, columns = np.array([0, 3, 2]), np.array([0, 5, 1])
    coords = np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=1)
    picture = visualize.draw_points(GREY, coords, color=(255, 0, 0))
    drawn = (picture != GREY).any(axis=2)
    assert sorted(zip(*np.nonzero(drawn))) == sorted(zip(rows, columns))
    assert (GREY == 100).all()
    np.testing.assert_array_equal(picture[2, 1], [255, 0, 0])


def test_points_at_the_border_outside_and_none():
    corner = visualize.draw_points(GREY, np.array([[1.0, 1.0], [1.2, 0.5], [0.5, -0.1]]), color=(255, 0, 0))
    assert [tuple(i) for i in np.argwhere((corner != GREY).any(axis=2))] == [(3, 5)]
    np.testing.assert_array_equal(visualize.draw_points(GREY, np.zeros((0, 2))), GREY)
    with pytest.raises(ValueError, match=r"\(1, 5, 2\)"):
        visualize.draw_points(GREY, np.zeros((1, 5, 2)))
    with pytest.raises(ValueError, match="radius is -1"):
        visualize.draw_points(GREY, np.zeros((5, 2)), radius=-1)


def test_thousands_of_points_leave_the_picture_visible():
    coords = np.random.default_rng(0).random((8192, 2))
    image = np.zeros((360, 480, 3), np.uint8)
    for radius, most in ((0, 0.05), (1, 0.25)):
        covered = visualize.draw_points(image, coords, radius=radius).any(axis=2).mean()
        assert 0.04 < covered < most
    one = visualize.draw_points(image, np.array([[0.5, 0.5]]), radius=2).any(axis=2)
    assert one.any(axis=0).sum() == one.any(axis=1).sum() == 5 and one.sum() == 13


def test_difference_map_says_who_is_right():
    truth = np.array([[0, 0, 0, 0, 255, 0]])
    coarse = np.array([[0, 1, 0, 1, 0, 1]])
    refined = np.array([[0, 0, 1, 2, 1, 1]])
    picture, counts = visualize.difference_map(coarse, refined, truth)
    white = (255, 255, 255)
    expected = [
        white,
        visualize.RIGHT_COLOR,
        visualize.WRONG_COLOR,
        visualize.BOTH_WRONG_COLOR,
        white,
        white,
    ]
    np.testing.assert_array_equal(picture[0], expected)
    assert counts == {"refined_right": 1, "coarse_right": 1, "both_wrong": 1, "different": 3, "counted": 5}
    shown, _ = visualize.difference_map(coarse, refined, truth, image=np.zeros((1, 6, 3), np.uint8))
    np.testing.assert_array_equal(shown[0, 1], visualize.RIGHT_COLOR)
    assert 100 < shown[0, 0, 0] < 200  # black, made pale


def test_error_map_spares_ignored_pixels():
    picture = visualize.error_map(np.array([[0, 1, 1]]), np.array([[0, 0, 7]]), ignore_index=7)
    np.testing.assert_array_equal(picture[0], [[255] * 3, visualize.WRONG_COLOR, [255] * 3])


@pytest.mark.parametrize("seed", range(3))
def test_busiest_window_is_the_best_of_all(seed):
    mask = np.random.default_rng(seed).random((15, 20)) < 0.2
    rows, columns = visualize.busiest_window(mask, 4, 6)
    best = max(mask[y : y + 4, x : x + 6].sum() for y in range(12) for x in range(15))
    assert mask[rows, columns].shape == (4, 6)
    assert mask[rows, columns].sum() == best


def test_busiest_window_is_cut_to_the_picture():
    assert visualize.busiest_window(np.zeros((3, 4), bool), 8, 8) == (slice(0, 3), slice(0, 4))


def test_frame_surrounds_the_window():
    image = np.full((40, 60, 3), 90, np.uint8)
    framed = visualize.draw_frame(image, slice(10, 20), slice(15, 35))
    for corner in ((10, 15), (19, 34)):
        np.testing.assert_array_equal(framed[corner], [255, 255, 255])
    np.testing.assert_array_equal(framed[13:17, 18:32], image[13:17, 18:32])
    assert (image == 90).all()


def test_side_by_side_keeps_panels_and_draws_titles():
    wide = np.full((4, 90, 3), 7, np.uint8)
    row = visualize.side_by_side([GREY, wide], gap=3)
    assert row.shape == (4, 6 + 3 + 90, 3)
    np.testing.assert_array_equal(row[:, :6], GREY)
    np.testing.assert_array_equal(row[:, 6:9], np.full((4, 3, 3), 255))
    np.testing.assert_array_equal(row[:, 9:], wide)
    titled = visualize.side_by_side([wide, wide], ["truth", ""])
    bar = titled[:-4]
    assert bar[:, :90].min() < 100 and bar[:, 98:].min() == 255
    np.testing.assert_array_equal(titled[-4:, :90], wide)


def test_a_long_title_is_shrunk_to_its_width():
    bar = visualize.title_bar("a title much longer than this panel is wide", 120, background=(0, 0, 0))
    assert bar.shape == (28, 120, 3) and bar.max() > 100
    assert bar[:, 0].max() == bar[:, -1].max() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: visualize.colorize(np.zeros((2, 2)), PALETTE), r"float64 \(2, 2\), expected integers"),
        (lambda: visualize.colorize(np.zeros((1, 2, 2), int), PALETTE), r"\(1, 2, 2\)"),
        (lambda: visualize.colorize(np.zeros((2, 2), int), PALETTE.ravel()), r"\(9,\), expected \[K, 3\]"),
        (lambda: visualize.colorize(np.zeros((2, 2), int), PALETTE * 2), "expected 0 to 255"),
        (lambda: visualize.overlay(GREY, np.zeros((2, 2), int), PALETTE), r"image \(4, 6\), label \(2, 2\)"),
        (lambda: visualize.dim(GREY / 255.0), r"float64 \(4, 6, 3\), expected uint8"),
        (lambda: visualize.side_by_side([]), "no panels"),
        (lambda: visualize.side_by_side([GREY, GREY[:2]]), r"\[2, 4\] pixels high"),
        (lambda: visualize.side_by_side([GREY], ["a", "b"]), "2 titles for 1 panels"),
        (lambda: visualize.error_map(np.zeros((2, 2), int), np.zeros((2, 3), int)), "sizes differ"),
    ],
)
def test_errors_name_what_they_got(call, message):
    with pytest.raises(ValueError, match=message):
        call()
