"""Masks as image files: VOC's layout (CVAT's and labelme's too), colours, EISeg's folders; lists of classes."""

import json

import numpy as np
import pytest
from PIL import Image

from paddle_pointrend.data.annotations.eiseg import read_eiseg
from paddle_pointrend.data.annotations.label_files import ListedClass, read_label_file
from paddle_pointrend.data.annotations.mask_rgb import read_mask_rgb
from paddle_pointrend.data.annotations.voc import VOC_CLASSES, read_voc
from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.errors import UsageError

SIZE = 12
ROAD, WALL, VOID = (128, 64, 128), (0, 0, 70), (0, 0, 0)


def values(seed=0, choices=(0, 1, 2, 255)):
    return np.random.RandomState(seed).choice(choices, (SIZE, SIZE)).astype(np.uint8)


def save(path, array, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image = Image.fromarray(array, "P")
        image.putpalette(np.asarray(palette, np.uint8).ravel().tolist())
    image.save(path)
    return path


def photograph(path):
    return save(path, np.zeros((SIZE, SIZE, 3), np.uint8))


def draw(annotations, name):
    return next(image for image in annotations.images if image.name == name).draw(SIZE, SIZE)


def voc_folder(root, names=("a", "b"), palette=None):
    palette = default_palette(255) if palette is None else palette
    for number, name in enumerate(names):
        photograph(root / f"JPEGImages/{name}.jpg")
        save(root / f"SegmentationClass/{name}.png", values(number), palette)
    return root


def test_voc_masks_are_their_indices_whatever_their_palette(tmp_path):
    photograph(tmp_path / "JPEGImages/not_annotated.jpg")
    found = read_voc(voc_folder(tmp_path))
    assert found.classes == list(VOC_CLASSES)
    assert [image.split for image in found.images] == [None, None]
    np.testing.assert_array_equal(draw(found, "b.jpg"), values(1))


def test_voc_keeps_the_split_of_its_lists(tmp_path):
    source = voc_folder(tmp_path, ("a", "b", "c"))
    lists = source / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\n")
    assert {image.split for image in read_voc(source).images} == {None}
    (lists / "val.txt").write_text("a\n")
    found = read_voc(source)
    assert {image.name: image.split for image in found.images} == {"a.jpg": "val", "b.jpg": "train"}
    assert found.notes == ["1 masks stand in neither train.txt nor val.txt and were left out"]


def test_labelmes_voc_folders_have_their_own_names(tmp_path):
    source = voc_folder(tmp_path)
    (source / "class_names.txt").write_text("__ignore__\n_background_\ncat\ndog")
    found = read_voc(source, ignored=["cat"])
    assert found.classes == ["background", "dog"]
    np.testing.assert_array_equal(draw(found, "a.jpg"), np.array([0, 255, 1, *[0] * 252, 255], np.uint8)[values()])


def test_cvats_voc_folders_have_colours(tmp_path):
    colors = np.array([VOID, ROAD, WALL], np.uint8)
    label = values(choices=(0, 1, 2))
    photograph(tmp_path / "JPEGImages/deep/a.jpg")
    save(tmp_path / "SegmentationClass/deep/a.png", colors[label])
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\nwall:0,0,70::\n"
    )
    found = read_voc(tmp_path)
    assert found.classes == ["background", "road", "wall"]
    np.testing.assert_array_equal(draw(found, "deep/a.jpg"), label)
    save(tmp_path / "SegmentationClass/deep/a.png", np.full((SIZE, SIZE, 3), (0, 0, 255), np.uint8))
    with pytest.raises(UsageError, match="has the colour 0 0 255 in 144 pixels, which stands for no class"):
        draw(found, "deep/a.jpg")


def test_colours_become_ids_in_the_order_of_the_list(tmp_path):
    colors = np.array([WALL, ROAD, VOID], np.uint8)
    label = values(choices=(0, 1, 2))
    photograph(tmp_path / "images/a.png")
    save(tmp_path / "masks/a.png", colors[label])
    listed = [ListedClass("wall", WALL), ListedClass("void", VOID), ListedClass("road", ROAD)]
    found = read_mask_rgb(tmp_path, listed=listed, ignored=["void"])
    assert found.classes == ["wall", "road"]
    np.testing.assert_array_equal(draw(found, "a.png"), np.array([0, 1, 255], np.uint8)[label])
    found = read_mask_rgb(tmp_path, listed=listed[:2])
    with pytest.raises(UsageError, match=r"a\.png has the colour 128 64 128 in \d+ pixels, which stands for no class"):
        draw(found, "a.png")
    with pytest.raises(UsageError, match="the class sky has no colour"):
        read_mask_rgb(tmp_path, listed=[ListedClass("sky")])


def test_masks_of_colours_with_a_palette_are_read_as_colours(tmp_path):
    label = values(choices=(0, 1))
    photograph(tmp_path / "images/a.png")
    save(tmp_path / "labels/a.png", label, [WALL, ROAD])
    found = read_mask_rgb(tmp_path, listed=[ListedClass("road", ROAD), ListedClass("wall", WALL)])
    np.testing.assert_array_equal(draw(found, "a.png"), 1 - label)


def test_mistakes_in_folders_of_masks_are_named(tmp_path):
    for read, options, words in (
        (read_voc, {}, "no folder SegmentationClass"),
        (read_mask_rgb, {"listed": []}, "no folder of masks in it, expected one named masks or labels"),
        (read_eiseg, {}, "there are no images in it"),
    ):
        with pytest.raises(UsageError, match=words):
            read(tmp_path, **options)
    source = voc_folder(tmp_path / "voc")
    save(source / "SegmentationClass/c.png", values())
    with pytest.raises(UsageError, match=r"1 masks in .* have no image in .*, the first is c"):
        read_voc(source)
    photograph(source / "JPEGImages/c.png")
    found = read_voc(source, listed=[ListedClass("background"), ListedClass("cat")])
    with pytest.raises(UsageError, match=r"c\.png has the value 2 in \d+ pixels, which stands for no class"):
        draw(found, "c.png")
    with pytest.raises(UsageError, match=r"c\.png has 12x12 pixels, its image 9x7"):
        found.images[2].draw(7, 9)
    photograph(source / "JPEGImages/c.jpg")
    with pytest.raises(UsageError, match="have one name but for the suffix"):
        read_voc(source)


def eiseg_folder(root, *, grey=True, pseudo=True):
    """As EISeg saves by default: the masks, a picture of what was cut out, polygons as COCO's."""
    label = values(choices=(0, 1, 3))
    photograph(root / "a.jpg")
    photograph(root / "not_annotated.jpg")
    save(root / "label/a_cutout.png", np.zeros((SIZE, SIZE, 4), np.uint8))
    if grey:
        save(root / "label/a.png", label)
    if pseudo:
        save(root / "label/a_pseudo.png", label, [VOID, ROAD, WALL, ROAD])
    return label


@pytest.mark.parametrize("kinds", [{}, {"grey": False}, {"pseudo": False}])
def test_eisegs_masks_have_the_names_of_its_coco_file(tmp_path, kinds):
    label = eiseg_folder(tmp_path, **kinds)
    categories = [{"id": i, "name": n, "color": [9, 9, i], "supercategory": ""} for i, n in ((3, "road "), (1, "wall"))]
    (tmp_path / "label/annotations.json").write_text(json.dumps({"categories": categories, "images": []}))
    found = read_eiseg(tmp_path)
    assert found.classes == ["background", "wall", "road"]
    np.testing.assert_array_equal(draw(found, "a.jpg"), np.array([0, 1, 0, 2], np.uint8)[label])
    np.testing.assert_array_equal(draw(read_eiseg(tmp_path / "label", images=tmp_path), "a.jpg"), draw(found, "a.jpg"))


def test_eisegs_masks_have_names_of_lists_or_of_their_values(tmp_path):
    eiseg_folder(tmp_path)
    assert read_eiseg(tmp_path).classes == ["background", "class_1", "class_3"]
    (tmp_path / "label/labelme").mkdir()
    (tmp_path / "label/labelme/labels.txt").write_text("__ignore__\nwall\nsky\nroad\n")
    assert read_eiseg(tmp_path).classes == ["background", "wall", "sky", "road"]
    listed = [ListedClass("street", ROAD, 3), ListedClass("house", WALL, 1)]
    assert read_eiseg(tmp_path, listed=listed, ignored=["house"]).classes == ["background", "street"]
    with pytest.raises(UsageError, match=r"no masks of the images .* say --from coco"):
        read_eiseg(tmp_path, images=tmp_path / "label")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("road\ntraffic light\n\n# a comment\n", [("road", None, None), ("traffic light", None, None)]),
        ("128 64 128\tRoad\n0 0 70 Wall of 2 bricks\n", [("Road", ROAD, None), ("Wall of 2 bricks", WALL, None)]),
        ("name,r,g,b\nroad,128,64,128\nwall, 0, 0, 70\n", [("road", ROAD, None), ("wall", WALL, None)]),
        ("1 road 128 64 128\n4 wall 0 0 70 \n", [("road", ROAD, 1), ("wall", WALL, 4)]),
        ("# label:color_rgb:parts:actions\nroad:128,64,128::\n", [("road", ROAD, None)]),
    ],
)
def test_lists_of_classes_have_several_forms(tmp_path, text, expected):
    (tmp_path / "labels.txt").write_text(text)
    assert [(e.name, e.color, e.id) for e in read_label_file(tmp_path / "labels.txt")] == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# nothing\n", "names no classes"),
        ("road\nroad\n", "the name road stands there twice"),
        ("road 1 2 3\nwall 1 2 3\n", r"the color \(1, 2, 3\) stands there twice"),
        ("road 1 2 3\nwall\n", "line 2: 'wall' has no colour, where others have one"),
        ("road 1 2 300\n", "line 1: '1 2 300' is no colour"),
    ],
)
def test_mistakes_in_lists_of_classes_are_named(tmp_path, text, words):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_label_file(tmp_path / "labels.txt")


def test_eisegs_pseudo_colours_are_found_for_names_with_brackets(tmp_path):
    photograph(tmp_path / "photo [1].jpg")
    save(tmp_path / "label/photo [1]_pseudo.png", values(choices=(0, 1)), [VOID, ROAD])
    np.testing.assert_array_equal(draw(read_eiseg(tmp_path), "photo [1].jpg"), values(choices=(0, 1)))
