"""Maps of instance ids to COCO's format."""

import cv2
import numpy as np
import pytest

from paddle_pointrend.data.cityscapes import INSTANCE_CATEGORIES
from paddle_pointrend.data.instance_maps import coco_of_maps
from paddle_pointrend.data.masks import decode_mask
from paddle_pointrend.errors import UsageError


def test_objects_crowds_and_what_does_not_count(tmp_path):
    ids = np.zeros((20, 30), np.uint16)
    ids[2:8, 3:9] = 26000
    ids[2:8, 9:12] = 26001
    ids[4:6, 20:22] = 24000
    ids[6:7, 25:26] = 24000  # the same person, behind a pole
    ids[10:20] = 7  # road
    ids[12:15, :10] = 26  # cars that stand close together
    cv2.imwrite(str(tmp_path / "a.png"), ids)
    content = coco_of_maps([("city/a.png", tmp_path / "a.png")], INSTANCE_CATEGORIES)
    assert content["images"] == [{"id": 1, "file_name": "city/a.png", "height": 20, "width": 30}]
    assert [category["name"] for category in content["categories"]] == list(INSTANCE_CATEGORIES.values())
    found = {
        (item["category_id"], item["iscrowd"], tuple(item["bbox"]), item["area"]) for item in content["annotations"]
    }
    assert found == {
        (26, 1, (0, 12, 10, 3), 30),
        (24, 0, (20, 4, 6, 3), 5),
        (26, 0, (3, 2, 6, 6), 36),
        (26, 0, (9, 2, 3, 6), 18),
    }
    values = [26, 24000, 26000, 26001]
    for item, value in zip(content["annotations"], values):
        np.testing.assert_array_equal(decode_mask(item["segmentation"], 20, 30), ids == value)


@pytest.mark.parametrize("corner", [True, False])
def test_runs_begin_with_zeros(tmp_path, corner):
    ids = np.full((3, 4), 24000, np.uint16)
    ids[0, 0] = 24000 if corner else 0
    cv2.imwrite(str(tmp_path / "a.png"), ids)
    (item,) = coco_of_maps([("a.png", tmp_path / "a.png")], INSTANCE_CATEGORIES)["annotations"]
    assert item["segmentation"]["counts"] == ([0, 12] if corner else [1, 11])


def test_a_map_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.png"):
        coco_of_maps([("a.png", tmp_path / "none.png")], INSTANCE_CATEGORIES)
