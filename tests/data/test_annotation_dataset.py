"""Annotations become lists, images and labels: the split, the counts, names; COCO's objects as label maps."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paddle_pointrend.data.annotations.coco import read_coco
from paddle_pointrend.data.annotations.dataset import split_images, write_dataset
from paddle_pointrend.data.annotations.instance_dataset import write_instances
from paddle_pointrend.data.annotations.types import Annotations, LabelledImage
from paddle_pointrend.data.coco import CocoData
from paddle_pointrend.data.lists import read_pairs
from paddle_pointrend.errors import UsageError

HEIGHT, WIDTH = 10, 14


def labelled(folder, name, label, split=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*label.shape, 3), 7, np.uint8)).save(path)
    return LabelledImage(name, path.with_suffix(".json"), path.read_bytes, lambda height, width: label, split=split)


@pytest.fixture
def ten(tmp_path):
    labels = np.random.RandomState(0).randint(0, 3, (10, HEIGHT, WIDTH)).astype(np.uint8)
    labels[labels == 2] = 255
    return [labelled(tmp_path / "source", f"photo {i}.png", labels[i]) for i in range(10)], labels


def test_lists_images_and_labels_are_what_was_annotated(tmp_path, ten):
    images, labels = ten
    out = tmp_path / "out"
    out.mkdir()
    steps = []
    found = write_dataset(Annotations(["background", "cat"], images), out, seed=3, progress=steps.append)
    assert steps == list(range(1, 11))
    pairs = {split: read_pairs(out / f"{split}.txt") for split in ("train", "val")}
    assert {split: len(rows) for split, rows in pairs.items()} == {"train": 8, "val": 2}
    for image, label in (pair for rows in pairs.values() for pair in rows):
        number = int(Path(image).stem[-1])
        assert (image, label) == (f"images/photo_{number}.png", f"labels/photo_{number}.png")
        stored = Image.open(out / label)
        assert stored.mode == "L"
        np.testing.assert_array_equal(np.asarray(stored), labels[number])
    assert found.pixels.tolist() == [(labels == value).sum() for value in (0, 1, 255)]
    assert found.images["train"].tolist() == [8, 8]
    assert (out / "labels.txt").read_text() == "background\ncat\n"


def test_the_split_depends_on_the_seed_and_the_names_alone(ten):
    images, _ = ten
    names = {
        seed: [image.name for image in split_images(order, 0.3, seed)["val"]]
        for seed, order in ((1, images), (2, images), (3, images))
    }
    assert len(names[1]) == 3
    assert names[1] == [image.name for image in split_images(images[::-1], 0.3, 1)["val"]]
    assert len({tuple(chosen) for chosen in names.values()}) == 3


def test_a_split_of_the_source_stays_and_one_image_is_too_few(tmp_path, ten):
    label = np.zeros((4, 4), np.uint8)
    images = [labelled(tmp_path, f"{name}.png", label, split) for name, split in (("a", "val"), ("b", "train"))]
    assert [image.name for image in split_images(images, 0.5, 1)["val"]] == ["a.png"]
    with pytest.raises(UsageError, match="2 annotated images leave none for val"):
        split_images([images[1], labelled(tmp_path, "c.png", label, "train")], 0.5, 1)
    with pytest.raises(UsageError, match="1 annotated images leave none for train"):
        split_images(ten[0][:1], 0.5, 1)


def test_classes_that_are_not_everywhere_are_pointed_out(tmp_path):
    classes = ["background", "both", "only train", "only val", "nowhere"]
    maps = {"train": np.array([[0, 1, 2]], np.uint8), "val": np.array([[0, 1, 3]], np.uint8)}
    images = [labelled(tmp_path / "source", f"{split}.png", label, split) for split, label in maps.items()]
    sentences = write_dataset(Annotations(classes, images), tmp_path).warnings()
    assert [sentence.partition(":")[0] for sentence in sentences] == ["nowhere", "only train", "only val"]


def test_the_first_mistake_is_named_and_the_others_counted(tmp_path, ten):
    def fail(number, height, width):
        raise UsageError(f"annotation {number} is wrong")

    images = [
        LabelledImage(f"{number}.png", Path("x.json"), ten[0][0].content, partial(fail, number)) for number in range(3)
    ]
    with pytest.raises(UsageError, match=r"annotation \d is wrong \(2 more images have mistakes\)"):
        write_dataset(Annotations(["a", "b"], images), tmp_path)
    broken = LabelledImage("b.png", Path("b.json"), lambda: b"no image", images[0].draw)
    with pytest.raises(UsageError, match=r"b\.json: its image b\.png cannot be read: not an image"):
        write_dataset(Annotations(["a", "b"], [broken, broken]), tmp_path)
    with pytest.raises(UsageError, match="there are 1 classes"):
        write_dataset(Annotations(["a"], ten[0]), tmp_path)


def test_names_stay_inside_the_folder_and_apart(tmp_path):
    label = np.zeros((4, 4), np.uint8)
    images = [labelled(tmp_path / "source", name, label) for name in ("deep/a.png", "b.png")]
    images[1] = LabelledImage("/../../up/b.png", Path("x"), images[1].content, images[1].draw)
    out = tmp_path / "out"
    out.mkdir()
    write_dataset(Annotations(["a", "b"], images), out)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.png")} == {
        f"{kind}/{name}.png" for kind in ("images", "labels") for name in ("deep/a", "up/b")
    }
    images[1] = LabelledImage(f"/{tmp_path}/escaped.png", Path("x"), images[1].content, images[1].draw)
    write_dataset(Annotations(["a", "b"], images), out)
    assert not (tmp_path / "escaped.png").exists()
    images.append(LabelledImage("B.jpg", Path("y.json"), images[1].content, images[1].draw))
    images[1] = labelled(tmp_path / "source", "b.png", label)
    with pytest.raises(UsageError, match=r"b\.png of .* and B\.jpg of y\.json would be one file"):
        write_dataset(Annotations(["a", "b"], images), out)


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def write_coco(file, images, names=("a.png",), objects=()):
    file.parent.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(images / name)
    content = {
        "categories": [{"id": 9, "name": "window"}, {"id": 4, "name": "facade"}, {"id": 11, "name": " window"}],
        "images": [{"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": category, "segmentation": mask, "area": area, "bbox": [0, 0, 1, 1]}
            for i, (category, mask, area) in enumerate(objects)
        ],
    }
    file.write_text(json.dumps(content))


OBJECTS = [
    (9, [box(1, 1, 4, 4), box(10, 1, 12, 3)], 13),
    (4, [box(0, 0, 14, 8)], 112),
    (11, {"size": [HEIGHT, WIDTH], "counts": [95, 3, 42]}, 3),
]


def expected_label():
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:8] = 1
    expected[1:4, 1:4] = expected[1:3, 10:12] = 2
    expected[5:8, 9] = 2  # run lengths go down the columns: 95 = 9 columns of 10, and 5
    return expected


def test_where_annotations_name_no_area_that_of_the_box_counts(tmp_path):
    write_coco(tmp_path / "annotations.json", tmp_path)
    content = json.loads((tmp_path / "annotations.json").read_text())
    content["annotations"] = [  # the small one first
        {"id": 1, "image_id": 0, "category_id": 9, "segmentation": [box(1, 1, 4, 4)], "bbox": [1, 1, 3, 3]},
        {"id": 2, "image_id": 0, "category_id": 4, "segmentation": [box(0, 0, 14, 8)], "bbox": [0, 0, 14, 8]},
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    label = read_coco(tmp_path).images[0].draw(HEIGHT, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:8] = 1
    expected[1:4, 1:4] = 2
    assert np.array_equal(label, expected)


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("annotations.json", "."),
        ("annotations/instances_default.json", "images"),
        ("_annotations.coco.json", "."),
        ("label/annotations.json", "."),
        ("my.json", "images"),
    ],
)
def test_cocos_objects_lie_above_larger_ones_wherever_the_images_are(tmp_path, file, images):
    write_coco(tmp_path / file, tmp_path / images, objects=OBJECTS)
    found = read_coco(tmp_path)
    assert found.classes == ["background", "facade", "window"]
    np.testing.assert_array_equal(found.images[0].draw(HEIGHT, WIDTH), expected_label())
    other = read_coco(tmp_path / file, classes=["window"], ignored=["facade"])
    np.testing.assert_array_equal(other.images[0].draw(HEIGHT, WIDTH), np.array([0, 255, 1])[expected_label()])
    with pytest.raises(UsageError, match="the classes facade are not listed"):
        read_coco(tmp_path, classes=["window"])
    with pytest.raises(UsageError, match="is 5x10, its annotations say 14x10"):
        found.images[0].draw(10, 5)


@pytest.mark.parametrize(
    "layout",
    [
        "annotations/instances_train2017.json train2017 annotations/instances_val.json val",
        "train/_annotations.coco.json train valid/_annotations.coco.json valid",
        "annotations/instances_train.json images/train annotations/instances_val.json images/val",
    ],
)
def test_cocos_splits_stay(tmp_path, layout):
    files = layout.split()
    for split, file, images in (("train", *files[:2]), ("val", *files[2:])):
        write_coco(tmp_path / file, tmp_path / images, names=[f"{split}.png"], objects=OBJECTS)
    assert {image.name: image.split for image in read_coco(tmp_path).images} == {
        "train.png": "train",
        "val.png": "val",
    }


def test_mistakes_in_coco_folders_are_named(tmp_path):
    with pytest.raises(UsageError, match="expected one JSON file of COCO's form in it, found none"):
        read_coco(tmp_path)
    write_coco(tmp_path / "a.json", tmp_path / "elsewhere", objects=OBJECTS)
    with pytest.raises(UsageError, match=r"its image a\.png lies neither in .* nor beside it; name its --images"):
        read_coco(tmp_path)
    assert read_coco(tmp_path, images=tmp_path / "elsewhere").images[0].name == "a.png"
    write_coco(tmp_path / "b.json", tmp_path, ["a.png", "b.png"], [(4, [[1, 2, 3, 4, 5]], 1)])
    with pytest.raises(UsageError, match=r"found a\.json, b\.json; name the file itself"):
        read_coco(tmp_path)
    found = read_coco(tmp_path / "b.json")
    with pytest.raises(UsageError, match=r"a\.png: object 0: a polygon has 5 numbers"):
        found.images[0].draw(HEIGHT, WIDTH)
    write_coco(tmp_path / "b.json", tmp_path, objects=[(4, {"size": [HEIGHT, WIDTH], "counts": ["x"]}, 1)])
    with pytest.raises(UsageError, match=r"a\.png: object 0: "):
        read_coco(tmp_path / "b.json").images[0].draw(HEIGHT, WIDTH)
    write_coco(tmp_path / "b.json", tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").unlink()
    with pytest.raises(UsageError, match="1 of its images are missing, the first is"):
        read_coco(tmp_path / "b.json")


def test_cocos_objects_are_split_numbered_anew_and_checked(tmp_path):
    names = [f"photo {i}.png" for i in range(5)]
    write_coco(tmp_path / "in/annotations.json", tmp_path / "in", names, OBJECTS)
    out = tmp_path / "out"
    out.mkdir()
    found = write_instances(tmp_path / "in", out, val_share=0.4, seed=2)
    assert found.images == {"train": 3, "val": 2}
    assert sum(counts.sum() for counts in found.objects.values()) == len(OBJECTS)
    files = {split: CocoData(out / f"annotations/instances_{split}.json", out / "images") for split in found.images}
    images = [image for data in files.values() for image in data.images]
    assert sorted(image.file_name for image in images) == [name.replace(" ", "_") for name in names]
    assert all(Path(image.path).read_bytes() == (tmp_path / "in" / names[0]).read_bytes() for image in images)
    (owner,) = (image for image in images if image.objects)
    assert owner.file_name == "photo_0.png"
    assert [item["segmentation"] for item in owner.objects] == [mask for _, mask, _ in OBJECTS]
    write_coco(tmp_path / "bad/annotations.json", tmp_path / "bad", names, [(4, [[1, 1, 1, 1, 1, 1]], 0)])
    (tmp_path / "again").mkdir()
    with pytest.raises(UsageError, match=r"photo 0\.png: object 0: its mask covers no pixel"):
        write_instances(tmp_path / "bad", tmp_path / "again")
