import numpy as np
import slow_references

from paddle_pointrend.data.paste import paste_masks


def slow_paste(mask, box, height, width):
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    coords = np.stack([(x - box[0]) / (box[2] - box[0]), (y - box[1]) / (box[3] - box[1])], axis=2).reshape(1, -1, 2)
    return slow_references.point_sample(mask[None, None], coords)[0, 0].reshape(height, width) >= 0.5


def test_masks_are_read_at_the_pixels_centres():
    random = np.random.default_rng(0)
    masks = random.random((6, 7, 7), dtype="float32")
    masks[4] = 1
    boxes = [[3.2, 4.1, 20.7, 15.5], [-5, -8, 12, 9], [20, 10, 60, 50], [8.4, 8.4, 9.1, 9.3], [0, 0, 30, 24]]
    boxes = np.float32([*boxes, [-40, 3, -20, 20]])
    pasted = paste_masks(masks, boxes, (24, 30))
    assert pasted.shape == (6, 24, 30) and pasted.dtype == bool
    for mask, box, found in zip(masks, boxes, pasted):
        np.testing.assert_array_equal(found, slow_paste(mask.astype(float), box.astype(float), 24, 30))
    assert pasted[0].any() and pasted[4, 1:-1, 1:-1].all() and not pasted[5].any()


def test_boxes_without_area_and_no_boxes():
    assert not paste_masks(np.ones((1, 7, 7)), [[3, 3, 3, 9]], (10, 10)).any()
    assert paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), (10, 12)).shape == (0, 10, 12)
