"""The score of an image's instances against masks counted pixel by pixel."""

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="the extra [instance] is not installed")

from paddle_pointrend.data.masks import encode_mask
from paddle_pointrend.evaluation.boundary import boundary_width
from paddle_pointrend.evaluation.instance_scores import image_score

SHAPE = (70, 100)


def item(top, left, height, width, *, category=1, score=None, crowd=0, mask=None):
    if mask is None:
        mask = np.zeros(SHAPE, bool)
        mask[top : top + height, left : left + width] = True
    found = {"category_id": category, "bbox": [left, top, width, height], "segmentation": encode_mask(mask)}
    return {**found, "mask": mask, **({"iscrowd": crowd} if score is None else {"score": score})}


def edge(mask):
    """Pixels of the mask with one outside of it, or of the image, at most so many rows and columns away."""
    reach, padded = boundary_width(*SHAPE), np.pad(mask, boundary_width(*SHAPE))
    near = np.zeros(SHAPE, bool)
    for y, x in np.argwhere(mask):
        near[y, x] = not padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1].all()
    return near


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def boundary_iou(first, second):
    return min(iou(first["mask"], second["mask"]), iou(edge(first["mask"]), edge(second["mask"])))


def test_each_object_takes_the_best_detection_at_it():
    truths = [item(5, 5, 30, 40), item(10, 60, 20, 30), item(45, 10, 20, 20, category=2), item(45, 60, 20, 30, crowd=1)]
    notched = truths[0]["mask"].copy()
    notched[5:9, 20:30] = False
    found = [
        item(45, 60, 20, 30, score=0.95),  # at the crowd, which does not count
        item(5, 5, 30, 40, score=0.9, mask=notched),
        item(6, 6, 30, 40, score=0.8),  # at the same object, which is taken
        item(45, 10, 20, 20, score=0.7),  # another class
        item(12, 62, 20, 30, score=0.6),
    ]
    expected = (boundary_iou(truths[0], found[1]) + boundary_iou(truths[1], found[4])) / 3
    assert image_score(truths, found) == pytest.approx(expected, abs=1e-12)
    assert 0.2 < expected < 0.66


def test_images_without_objects_or_detections():
    assert np.isnan(image_score([], [item(5, 5, 9, 9, score=1)]))
    assert np.isnan(image_score([item(5, 5, 9, 9, crowd=1)], []))
    assert image_score([item(5, 5, 9, 9)], []) == 0
    assert image_score([item(5, 5, 9, 9)], [item(5, 5, 9, 9, score=0.6)]) == 1
