"""Instances in an image's own pixels."""

import numpy as np

from paddle_pointrend.cli.instances import draw
from paddle_pointrend.data import found_instances
from paddle_pointrend.data.found_instances import Instances


def found(count):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (count, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1) + 2], 1).astype("float32")
    masks = random.random((count, 7, 7), dtype="float32")
    return Instances(boxes, np.linspace(1, 0, count), np.zeros(count, int), {"prediction": masks}, (70, 80))


def test_boxes_and_masks_come_to_the_images_size():
    boxes = np.float32([[10, 20, 30, 60], [40, 10, 40, 30], [50, 50, 130, 90]])
    masks = {"prediction": np.ones((3, 7, 7), np.float32)}
    resized = Instances.resized(boxes, np.float32([0.9, 0.8, 0.7]), np.array([0, 1, 2]), masks, (100, 100), (50, 200))
    np.testing.assert_allclose(resized.boxes, [[20, 10, 60, 30], [100, 25, 200, 45]])  # one has no area
    assert resized.classes.tolist() == [0, 2] and resized.masks().shape == (2, 50, 200)


def test_pictures_hold_one_mask_at_a_time(monkeypatch):
    instances = found(9)
    for ours, expected in zip(instances.masks_one_by_one(5), instances.masks()):
        np.testing.assert_array_equal(ours, expected)
    held, paste = [], found_instances.paste_masks
    monkeypatch.setattr(
        found_instances, "paste_masks", lambda masks, *rest: held.append(len(masks)) or paste(masks, *rest)
    )
    draw(np.zeros((70, 80, 3), np.uint8), instances, ["a"])
    assert held == [1] * 5
