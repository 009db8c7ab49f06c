"""Data sets in COCO's format, their masks, and what is wrong with them named in one line."""

import json

import cv2
import numpy as np
import pytest
from coco_files import SQUARE, run_lengths, write_coco
from matplotlib.path import Path

from paddle_pointrend.data.coco import CocoData, read_coco_image, true_instances
from paddle_pointrend.data.masks import decode_mask, encode_mask
from paddle_pointrend.errors import UsageError


def _load(root):
    return CocoData(root / "annotations.json", root / "images")


def test_images_objects_and_classes(tmp_path):
    coco = _load(write_coco(tmp_path))
    assert coco.class_names == ["person", "car"]
    assert coco.category_ids == [3, 7]
    assert [(image.file_name, len(image.objects)) for image in coco.images] == [
        ("a.png", 2),
        ("b.png", 3),
        ("empty.png", 0),
    ]
    assert read_coco_image(coco.images[0]).shape == (32, 48, 3)


@pytest.mark.parametrize("height", [5, 33])
@pytest.mark.parametrize("filled", [0.0, 0.4, 1.0])
def test_run_lengths_of_both_kinds_decode_to_the_mask(height, filled):
    mask = np.random.RandomState(0).rand(height, 17) < filled
    np.testing.assert_array_equal(decode_mask(run_lengths(mask), height, 17), mask)
    encoded = json.loads(json.dumps(encode_mask(mask)))
    np.testing.assert_array_equal(decode_mask(encoded, height, 17), mask)


def test_polygons_cover_the_pixels_whose_centres_they_hold():
    triangle = [3.3, 2.1, 28.7, 6.4, 11.2, 25.9]
    mask = decode_mask([SQUARE, triangle], 32, 40)
    y, x = np.mgrid[:32, :40] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], 1)
    inside = [Path(np.reshape(polygon, (-1, 2))).contains_points(centres) for polygon in (SQUARE, triangle)]
    wanted = np.any(inside, axis=0).reshape(32, 40)
    # pycocotools draws on a five times finer grid and rounds: pixels on the outline may differ.
    edge = cv2.morphologyEx(wanted.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    np.testing.assert_array_equal(mask[~edge], wanted[~edge])
    assert (mask != wanted).sum() < 0.1 * wanted.sum()


def test_the_dict_for_pycocotools_has_every_object_as_run_lengths(tmp_path):
    content = _load(write_coco(tmp_path)).as_dict()
    assert [item["id"] for item in content["annotations"]] == [1, 2, 3, 4, 5]
    assert [item["iscrowd"] for item in content["annotations"]] == [0, 1, 0, 0, 0]
    assert all(isinstance(item["segmentation"]["counts"], bytes) for item in content["annotations"])
    assert {category["id"]: category["name"] for category in content["categories"]} == {3: "person", 7: "car"}


def _drop(key):
    return lambda content: content.pop(key)


def _set(index, **values):
    return lambda content: content["annotations"][index].update(values)


MISTAKES = {
    "no images": (_drop("images"), "no list of images"),
    "a dict of categories": (lambda content: content.update(categories={"1": "car"}), "no list of categories"),
    "an image without height": (lambda content: content["images"][1].pop("height"), "has no height"),
    "two images of one id": (lambda content: content["images"][1].update(id=1), "same id"),
    "no categories": (lambda content: content.update(categories=[]), "there are no categories"),
    "an id that is text": (
        lambda content: content.update(categories=[{"id": "1", "name": "car"}]),
        "no whole number as id",
    ),
    "a height that is text": (lambda content: content["images"][0].update(height="x"), "no whole number as height"),
    "an image larger than memory": (
        lambda content: content["images"][0].update(height=2**20, width=2**20),
        "image 1 is 1048576x1048576, expected at most",
    ),
    "a number of 400 digits": (_set(0, bbox=[1, 2, 3, 10**400]), "the number 10000000000000000000... has 401 digits"),
    "a number that overflows": (_set(0, bbox=[1, 2, 3, float("inf")]), "annotation 10: bbox is"),
    "an area that is text": (_set(0, area="large"), "annotation 10: area is large"),
    "an unknown image": (_set(0, image_id=99), "annotation 10: image_id 99"),
    "an unknown category": (_set(2, category_id=5), "annotation 12: category_id 5"),
    "half a box": (_set(0, bbox=[1, 2, 3]), "annotation 10: bbox is [1, 2, 3]"),
    "no box": (lambda content: content["annotations"][0].pop("bbox"), "annotation 10: key 'bbox' is missing"),
    "a crowd that is text": (_set(0, iscrowd="x"), "annotation 10: iscrowd is x, expected 0 or 1"),
    "a crowd that is null": (_set(0, iscrowd=None), "annotation 10: iscrowd is None, expected 0 or 1"),
    "an area without end": (_set(0, area=float("inf")), "annotation 10: area is inf"),
    "a negative height": (
        lambda content: content["images"][0].update(height=-1),
        "height of an image is -1, expected 1 to",
    ),
    "a huge width": (lambda content: content["images"][0].update(width=1e30), "width of an image is 1e+30"),
    "a name that is a list": (
        lambda content: content.update(categories=[{"id": 7, "name": [1]}]),
        "has no text as name",
    ),
    "no mask": (_set(0, segmentation=None), "annotation 10: its segmentation is neither"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_file_is_refused_with_the_entry(tmp_path, name):
    change, words = MISTAKES[name]
    with pytest.raises(UsageError) as error:
        _load(write_coco(tmp_path, change))
    assert words in str(error.value)
    assert str(tmp_path / "annotations.json") in str(error.value)


BAD_MASKS = {
    "half a corner": ([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], "a polygon has 7 numbers"),
    "not a number": ([[1.0, 2.0, 3.0, 4.0, 5.0, float("nan")]], "expected finite pairs"),
    "another size": ({"size": [5, 5], "counts": [25]}, "of size [5, 5], the image of [32, 48]"),
    "too short": ({"size": [32, 48], "counts": [3, 4]}, "add up to 7 pixels"),
    "no counts": ({"size": [32, 48]}, "counts are a NoneType"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_a_wrong_mask_is_refused_with_its_annotation(tmp_path, name):
    mask, words = BAD_MASKS[name]
    with pytest.raises(UsageError, match="annotation 10: ") as error:
        _load(write_coco(tmp_path, _set(0, segmentation=mask))).as_dict()
    assert words in str(error.value)


def test_objects_are_drawn_with_their_corners(tmp_path):
    data = _load(write_coco(tmp_path))
    for image in data.images:
        boxes, masks = true_instances(image)
        assert boxes.shape == (len(image.objects), 4) and masks.shape == (len(boxes), image.height, image.width)
        for item, box, mask in zip(image.objects, boxes, masks):
            x, y, width, height = item["bbox"]
            assert box.tolist() == [x, y, x + width, y + height]
            np.testing.assert_array_equal(mask, decode_mask(item["segmentation"], image.height, image.width))


def test_files_that_are_not_there_or_no_json_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.json: cannot read"):
        CocoData(tmp_path / "none.json", tmp_path)
    (tmp_path / "bad.json").write_text('{"images": [')
    with pytest.raises(UsageError, match=r"bad\.json is not valid JSON"):
        CocoData(tmp_path / "bad.json", tmp_path)


def test_pictures_that_do_not_fit_are_named(tmp_path):
    coco = _load(write_coco(tmp_path))
    cv2.imwrite(coco.images[0].path, np.zeros((48, 32, 3), np.uint8))
    with pytest.raises(UsageError, match=r"a\.png is 32x48 .* say 48x32; an EXIF"):
        read_coco_image(coco.images[0])
    (tmp_path / "images/b.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"cannot read .*b\.png"):
        read_coco_image(coco.images[1])
