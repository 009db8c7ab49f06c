"""Samples of instances: sizes, flips, masks, normalisation, batches."""

import itertools

import cv2
import numpy as np
import pytest
from coco_files import write_coco
from PIL import Image

from paddle_pointrend.data.instances import (
    CocoInstances,
    grouped_batches,
    pad_images,
    resize_pixels,
    shortest_edge_size,
)
from paddle_pointrend.errors import UsageError


def _dataset(root, **options):
    options = {"short_sides": [32], "longest_side": 96, "mean": (0, 0, 0), "std": (1, 1, 1), **options}
    return CocoInstances(root, "annotations.json", "images", **options)


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((480, 640), 800, 1333, (800, 1067)),
        ((640, 480), 800, 1333, (1067, 800)),
        ((300, 900), 800, 1333, (444, 1333)),
        ((333, 500), 640, 1333, (640, 961)),
        ((64, 64), 100, 100, (100, 100)),
        ((1, 5000), 800, 1333, (1, 1333)),  # here detectron2 has no height left
    ],
)
def test_sizes_are_those_of_detectron2(size, short, longest, expected):
    assert shortest_edge_size(*size, short, longest) == expected


def test_a_sample_at_its_own_size(tmp_path):
    dataset = _dataset(write_coco(tmp_path))
    image = dataset.coco.images[0]
    sample = dataset.training_sample(image, np.random.default_rng(0))
    pixels = cv2.cvtColor(cv2.imread(image.path), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(sample.image, pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(sample.boxes, [[8, 4, 24, 20]])  # the crowd is left out
    np.testing.assert_array_equal(sample.classes, [1])
    wanted = np.zeros((32, 48), bool)
    wanted[4:20, 8:24] = True
    np.testing.assert_array_equal(sample.masks, wanted[None])


def test_objects_without_width_or_pixels_are_left_out(tmp_path):
    dataset = _dataset(write_coco(tmp_path))
    sample = dataset.training_sample(dataset.coco.images[1], np.random.default_rng(0))
    assert sample.classes.tolist() == [0]
    assert sample.masks.shape == (1, 48, 32)
    assert sample.boxes.dtype == np.float32


def test_boxes_and_masks_follow_the_pixels(tmp_path):
    """Every object is a square of its own colour; after any resize and flip box and mask are where the colour is."""
    root = write_coco(tmp_path)
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[4:20, 8:24] = 255
    cv2.imwrite(str(root / "images/a.png"), pixels)
    dataset = _dataset(root, short_sides=[32, 64, 128], longest_side=500, flip=True)
    seen = set()
    for seed in range(12):
        sample = dataset.training_sample(dataset.coco.images[0], np.random.default_rng(seed))
        bright = sample.image[0] > 127
        y, x = np.nonzero(bright)
        np.testing.assert_allclose(sample.boxes[0], [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1.01)
        assert (sample.masks[0] != bright).mean() < 0.01
        seen.add((sample.image.shape[1], bool(bright[:, : bright.shape[1] // 2].sum() > bright.sum() / 2)))
    assert len(seen) >= 4  # of three sizes and two sides


def test_run_length_masks_are_resized_to_the_nearest_pixel(tmp_path):
    dataset = _dataset(write_coco(tmp_path), short_sides=[56], longest_side=500)
    image = dataset.coco.images[1]
    sample = dataset.training_sample(image, np.random.default_rng(0))
    disc = np.hypot(*(np.mgrid[:48, :32] - np.array([24, 16])[:, None, None])) < 10
    rows, columns = (((np.arange(size) + 0.5) * 4 / 7).astype(int) for size in (84, 56))
    np.testing.assert_array_equal(sample.masks[0], disc[rows][:, columns])


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_normalisation(tmp_path, channels):
    mean, std = (10.0, 20.0, 30.0), (1.0, 2.0, 4.0)
    dataset = _dataset(write_coco(tmp_path), channels=channels, mean=mean, std=std)
    pixels = np.random.RandomState(0).randint(0, 256, (32, 40, 3), np.uint8)
    ordered = pixels if channels == "RGB" else pixels[..., ::-1]
    wanted = np.stack([(ordered[..., i] - mean[i]) / std[i] for i in range(3)])
    np.testing.assert_allclose(dataset.network_image(pixels), wanted, rtol=1e-6)


def test_resizing_is_pillows(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (50, 40, 3), np.uint8)
    wanted = Image.fromarray(pixels).resize((20, 25), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize_pixels(pixels, 25, 20), np.asarray(wanted))


def test_training_leaves_out_images_without_objects_unless_asked(tmp_path):
    root = write_coco(tmp_path)
    assert [image.file_name for image in _dataset(root).training_images()] == ["a.png", "b.png"]
    dataset = _dataset(root, keep_empty=True)
    assert len(dataset.training_images()) == 3
    sample = dataset.training_sample(dataset.coco.images[2], np.random.default_rng(0))
    assert sample.boxes.shape == (0, 4)
    assert sample.masks.shape == (0, 32, 32)


def test_batches_are_padded_at_the_right_and_below():
    images = [np.full((3, 30, 50), 1, np.float32), np.full((3, 40, 20), 2, np.float32)]
    batch, sizes = pad_images(images)
    assert batch.shape == (2, 3, 64, 64)
    assert sizes.tolist() == [[30, 50], [40, 20]]
    assert batch.sum() == 3 * (30 * 50 + 2 * 40 * 20)
    np.testing.assert_array_equal(batch[1, :, :40, :20], images[1])


def test_batches_hold_one_shape_and_processes_share_the_images():
    wide = [i % 3 == 0 for i in range(12)]
    shares = [list(itertools.islice(grouped_batches(wide, 2, 5, rank, 2), 60)) for rank in (0, 1)]
    assert all(wide[a] == wide[b] for share in shares for a, b in share)
    counts = np.bincount(np.ravel(shares), minlength=12)
    assert counts.min() >= 15  # 20 epochs, less what waits for a partner
    assert shares[0] != shares[1]
    assert shares[0] == list(itertools.islice(grouped_batches(wide, 2, 5, 0, 2), 60))
    assert shares[0] != list(itertools.islice(grouped_batches(wide, 2, 6, 0, 2), 60))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"short_sides": 800}, "short_sides is 800"),
        ({"short_sides": [0]}, "short_sides is"),
        ({"longest_side": 1.5}, "longest_side is"),
        ({"channels": "GRB"}, "expected RGB or BGR"),
        ({"mean": [1, 2]}, "mean is"),
        ({"std": [1, 1, 0]}, "above 0"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        _dataset(write_coco(tmp_path), **options)
