"""Pictures of instances."""

import numpy as np
import pytest

from paddle_pointrend.evaluation.instance_pictures import draw_instances, instance_colors


@pytest.fixture
def image():
    return np.full((120, 160, 3), 100, np.uint8)


def _masks(*windows):
    masks = np.zeros((len(windows), 120, 160), bool)
    for mask, (left, top, right, bottom) in zip(masks, windows):
        mask[top:bottom, left:right] = True
    return np.array(windows, np.float32), masks


def test_masks_are_tinted_and_the_rest_stays(image):
    boxes, masks = _masks((20, 30, 80, 90))
    picture = draw_instances(image, boxes, masks, [""], np.array([[255, 0, 0]]))
    np.testing.assert_array_equal(picture[60, 50], [169, 55, 55])
    np.testing.assert_array_equal(picture[30, 20], [255, 0, 0])
    outside = np.ones((120, 160), bool)
    outside[30:90, 20:80] = False
    assert (picture[outside] == 100).all()
    assert (image == 100).all()


def test_the_first_lies_on_top(image):
    boxes, masks = _masks((20, 30, 80, 90), (20, 30, 80, 90))
    picture = draw_instances(image, boxes, masks, ["", ""], np.array([[255, 0, 0], [0, 255, 0]]))
    red, green, _ = picture[60, 50].astype(int)
    assert red > green
    np.testing.assert_array_equal(picture[30, 40], [255, 0, 0])


@pytest.mark.parametrize("window", [(100, 0, 160, 40), (0, 60, 50, 120)])
def test_labels_stay_inside_the_picture(image, window):
    boxes, masks = _masks(window)
    plain = draw_instances(image, boxes, masks, [""], np.array([[0, 0, 255]]))
    labelled = draw_instances(image, boxes, masks, ["window 97"], np.array([[0, 0, 255]]))
    changed = np.argwhere((plain != labelled).any(-1))
    assert len(changed) > 100
    assert changed.min(0)[1] >= min(window[0], 160 - 60)


def test_a_label_does_not_cover_the_neighbours_of_a_small_box(image):
    boxes, masks = _masks((60, 60, 70, 70))
    plain, labelled = (draw_instances(image, boxes, masks, [text], np.array([[0, 0, 255]])) for text in ("", "window"))
    np.testing.assert_array_equal(plain, labelled)


def test_no_instances(image):
    boxes, masks = np.zeros((0, 4)), np.zeros((0, 120, 160), bool)
    np.testing.assert_array_equal(draw_instances(image, boxes, masks, [], instance_colors(0)), image)


def test_neighbours_have_colours_that_differ():
    colors = instance_colors(100).astype(int)
    assert len(np.unique(colors, axis=0)) > 90
    assert np.abs(np.diff(colors, axis=0)).max(1).min() > 60


def test_what_does_not_fit_is_refused(image):
    boxes, masks = _masks((20, 30, 80, 90))
    with pytest.raises(ValueError, match="expected one number"):
        draw_instances(image, boxes, masks, [], np.array([[255, 0, 0]]))
    with pytest.raises(ValueError, match="a mask is of"):
        draw_instances(image[:50], boxes, masks, [""], np.array([[255, 0, 0]]))
    with pytest.raises(ValueError, match="expected uint8"):
        draw_instances(image / 255, boxes, masks, [""], np.array([[255, 0, 0]]))
