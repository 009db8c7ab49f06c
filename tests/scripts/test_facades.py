"""The facades' labels of made-up COCO files in both layouts, and the picture of a comparison."""

import importlib
import json

import cv2
import numpy as np
import paddle
import prepare_facades
import pytest
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend.data.instances import CocoInstances

FACADE, WINDOW = (prepare_facades.CLASSES.index(name) for name in ("facade", "window"))


def _rectangle(left, top, right, bottom, unit):
    """A polygon whose corners lie just inside the outer pixels of [top:bottom, left:right]."""
    left, top, right, bottom = (side * unit for side in (left + 0.2, top + 0.2, right - 0.2, bottom - 0.2))
    return [left, top, right, top, right, bottom, left, bottom]


def _write_split(annotations, images, *, size=8, segmentation=None):
    """One photograph, a window that is listed before the facade it lies in, and a facade of two parts."""
    images.mkdir(parents=True, exist_ok=True)
    annotations.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(images / "a.jpg"), np.zeros((size, size, 3), np.uint8))
    unit = size // 8
    facade = [_rectangle(0, 0, 4, 6, unit), _rectangle(6, 0, 8, 2, unit)]
    window = [_rectangle(1, 1, 3, 3, unit)]
    objects = [(10, 4, segmentation or window), (3, 28, facade)]
    coco = {
        "categories": [{"id": 0, "name": "facade"}, {"id": 3, "name": "facade"}, {"id": 10, "name": "window"}],
        "images": [{"id": 7, "file_name": "a.jpg", "height": size, "width": size}],
        "annotations": [
            {
                "id": i,
                "image_id": 7,
                "category_id": category,
                "area": area,
                "segmentation": parts,
                "bbox": [0, 0, size, size],
            }
            for i, (category, area, parts) in enumerate(objects)
        ],
    }
    annotations.write_text(json.dumps(coco))


def _write_both(source, layout, **options):
    for split in ("train", "val"):
        if layout == "coco":
            _write_split(source / f"annotations/instances_{split}.json", source / "images" / split, **options)
        else:
            folder = source / {"val": "valid"}.get(split, split)
            _write_split(folder / "_annotations.coco.json", folder, **options)


@pytest.mark.parametrize("layout", ["coco", "export"])
@pytest.mark.parametrize("size", [8, 16])
def test_smaller_objects_lie_above_larger_ones(tmp_path, capsys, layout, size):
    _write_both(tmp_path / "source", layout, size=size)
    target = tmp_path / "facades"
    assert prepare_facades.main([str(tmp_path / "source"), str(target), "--max_side", "8"]) == 0
    image, label = (target / "val.txt").read_text().split()
    assert cv2.imread(str(target / image)).shape == (8, 8, 3)
    expected = np.zeros((8, 8), np.uint8)
    expected[:6, :4], expected[:2, 6:], expected[1:3, 1:3] = FACADE, FACADE, WINDOW
    np.testing.assert_array_equal(cv2.imread(str(target / label), cv2.IMREAD_UNCHANGED), expected)
    assert "1 images" in capsys.readouterr().out
    dataset = CocoInstances(target, "annotations/instances_val.json", "images/val", short_sides=[8])
    assert dataset.coco.class_names == list(prepare_facades.CLASSES[1:])
    sample = dataset.training_sample(dataset.coco.images[0], np.random.default_rng(0))
    assert sample.image.shape == (3, 8, 8)
    masks = dict(zip(sample.classes + 1, sample.masks))
    np.testing.assert_array_equal(masks[WINDOW], expected == WINDOW)
    np.testing.assert_array_equal(masks[FACADE], expected > 0)  # the window lies in it


def test_what_is_missing_is_named(tmp_path, capsys):
    assert prepare_facades.main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "instances_train.json" in capsys.readouterr().err


def test_run_length_encoding_is_refused(tmp_path):
    _write_both(tmp_path / "source", "coco", segmentation={"counts": [1], "size": [8, 8]})
    with pytest.raises(ValueError, match="run-length"):
        prepare_facades.main([str(tmp_path / "source"), str(tmp_path / "out")])


@pytest.fixture
def draw(pointrend_config, tmp_path):
    """Draws a picture of the tiny config's val images with random weights; returns it."""
    script = importlib.import_module("comparison_picture")
    paddle.seed(1)
    paddle.save(SegBuilder(Config(str(pointrend_config))).model.state_dict(), str(tmp_path / "model.pdparams"))

    def run(name, *options):
        picture = tmp_path / "pictures" / name
        arguments = ["--config", str(pointrend_config), "--model_path", str(tmp_path / "model.pdparams")]
        assert script.main([*arguments, "--output", str(picture), "--panel_width", "64", *options]) == 0
        return cv2.imread(str(picture))

    return run


def test_a_comparison_is_drawn_of_the_image_that_gains_most(draw, capsys):
    best = draw("best.png")
    assert best.shape[1] >= 4 * 64
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert "of 3 images gain boundary IoU" in lines[0]
    gains = [float(line.split()[-2]) - float(line.split()[-4]) for line in lines[1:4]]
    assert gains == sorted(gains, reverse=True)
    assert lines[1].strip() in lines[4]
    assert lines[4].endswith("(gains most)")
    number = lines[1].split()[1].rstrip(",")
    np.testing.assert_array_equal(draw("same.png", "--image", number), best)
    assert "(chosen by --image)" in capsys.readouterr().out


def test_an_image_outside_the_list_is_refused(draw, capsys):
    with pytest.raises(SystemExit):
        draw("none.png", "--image", "3")
    assert "has 3 images" in capsys.readouterr().err
