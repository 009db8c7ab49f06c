"""labelme's files, made here in its form: its shapes against geometry, their order, images inside JSON, mistakes."""

import base64
import io
import itertools
import json

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

from paddle_pointrend.data.annotations.labelme import draw_shape, read_labelme
from paddle_pointrend.errors import UsageError

HEIGHT, WIDTH = 40, 60


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def png(array):
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def write(folder, name, shapes, *, image=True, **more):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    if image:
        Image.fromarray(pixels).save(folder / f"{name}.png")
    content = {"version": "5.7.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None}
    (folder / f"{name}.json").write_text(json.dumps({**content, "imageHeight": HEIGHT, "imageWidth": WIDTH, **more}))
    return folder


def draw_first(annotations):
    return annotations.images[0].draw(HEIGHT, WIDTH)


def _from_lines(rows, columns, points):
    """The distance of pixels from a line through points, in pixels."""
    return np.min([_from_segment(rows, columns, *ends) for ends in itertools.pairwise(points)], axis=0)


def _from_segment(rows, columns, start, end):
    start, end = np.array(start, float), np.array(end, float)
    points = np.stack([columns, rows], axis=-1) - start
    along = np.clip(points @ (end - start) / max(1e-9, (end - start) @ (end - start)), 0, 1)
    return np.linalg.norm(points - along[..., None] * (end - start), axis=-1)


@pytest.mark.parametrize(
    ("kind", "points", "beyond"),
    [
        ("circle", [[30, 20], [38, 26]], lambda y, x: np.hypot(x - 30, y - 20) - 10),
        ("point", [[30, 20]], lambda y, x: np.hypot(x - 30, y - 20) - 5),
        ("linestrip", [[10, 8], [40, 8], [40, 30]], lambda y, x: _from_lines(y, x, [[10, 8], [40, 8], [40, 30]]) - 5),
        ("line", [[10, 8], [50, 30]], lambda y, x: _from_lines(y, x, [[10, 8], [50, 30]]) - 5),
    ],
)
def test_shapes_cover_what_geometry_says(kind, points, beyond):
    """`beyond`: how many pixels lie between a place and the shape, below 0 inside; within one of them either may be."""
    drawn = draw_shape(HEIGHT, WIDTH, kind, points)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    far = beyond(y, x)
    ends = np.zeros_like(drawn)  # lines end squarely
    if kind.startswith("line"):
        ends = np.min([np.hypot(x - point[0], y - point[1]) for point in (points[0], points[-1])], axis=0) < 8
    assert drawn[(far < -1) & ~ends].all()
    assert not drawn[far > 1].any()
    assert drawn.any()


def test_a_rectangle_has_its_corners():
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[5:21, 10:31] = True
    np.testing.assert_array_equal(draw_shape(HEIGHT, WIDTH, "rectangle", [[30, 5], [10, 20]]), expected)


@pytest.mark.parametrize("kind", ["polygon", None, "oriented_rectangle"])
def test_a_polygon_is_its_inside_and_its_outline(kind):
    points = np.array([[10.4, 5.2], [44.7, 9.6], [38.1, 33.3], [5.5, 28.9]])
    drawn, (y, x) = draw_shape(HEIGHT, WIDTH, kind, points), np.mgrid[:HEIGHT, :WIDTH]
    inside = Outline(points).contains_points(np.stack([x, y], -1).reshape(-1, 2)).reshape(HEIGHT, WIDTH)
    near = _from_lines(y, x, [*points, points[0]]) <= 1.5
    assert drawn[inside & ~near].all()
    assert not drawn[~inside & ~near].any()


def test_later_shapes_lie_over_earlier_ones_and_names_have_their_ids(tmp_path):
    shapes = [
        shape("wall", [[0, 0], [59, 39]], "rectangle"),
        shape("door", [[10, 10], [19, 19]], "rectangle"),
        shape("_background_", [[15, 10], [30, 12]], "rectangle"),
        shape("__ignore__", [[40, 30], [59, 39]], "rectangle"),
        shape("glare", [[0, 30], [5, 39]], "rectangle"),
    ]
    found = read_labelme(write(tmp_path, "a", shapes), ignored=["glare"])
    assert found.classes == ["background", "door", "wall"]
    expected = np.full((HEIGHT, WIDTH), 2, np.uint8)
    expected[10:20, 10:20] = 1
    expected[10:13, 15:31] = 0
    expected[30:, 40:] = expected[30:, :6] = 255
    np.testing.assert_array_equal(draw_first(found), expected)


def test_a_mask_is_put_at_its_box_and_cut_to_the_image(tmp_path):
    bits = np.random.RandomState(0).rand(8, 12) > 0.5
    mask = shape("spot", [[52.0, 35.0], [63.0, 42.0]], "mask", mask=png(bits.astype(np.uint8)))
    found = read_labelme(write(tmp_path, "a", [mask]))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[35:, 52:] = bits[:5, :8]
    np.testing.assert_array_equal(draw_first(found), expected)


def test_an_image_may_stand_inside_its_json_file(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    write(tmp_path / "in", "a", [shape("x", [[0, 0], [9, 9]], "rectangle")], image=False, imageData=png(pixels))
    image = read_labelme(tmp_path / "in").images[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.content()))), pixels)
    assert image.name == "a.png"


def test_images_are_found_where_windows_put_them_and_where_the_option_says(tmp_path):
    box = [shape("x", [[0, 0], [9, 9]], "rectangle")]
    write(tmp_path / "photos", "a", [])
    (tmp_path / "photos/a.json").unlink()
    write(tmp_path / "json/deep", "a", box, image=False, imagePath="..\\..\\photos\\a.png")
    assert read_labelme(tmp_path / "json").images[0].name == "deep/a.png"
    write(tmp_path / "json/deep", "a", box, image=False, imagePath="C:\\elsewhere\\a.png")
    with pytest.raises(UsageError, match="neither there nor inside it; --images names its folder"):
        read_labelme(tmp_path / "json")
    found = read_labelme(tmp_path / "json/deep/a.json", images=tmp_path / "photos")
    assert found.images[0].content() == (tmp_path / "photos/a.png").read_bytes()


def test_blanks_around_a_name_do_not_make_another_class(tmp_path):
    names = ["Dog ", "Dog", "\tDog", "cat"]
    shapes = [shape(name, [[10 * i, 0], [10 * i + 9, 9]], "rectangle") for i, name in enumerate(names)]
    found = read_labelme(write(tmp_path, "a", shapes))
    assert found.classes == ["background", "Dog", "cat"]
    np.testing.assert_array_equal(draw_first(found)[:10, :40], np.repeat([[1, 1, 1, 2]], 10, axis=1).repeat(10, axis=0))


def test_images_without_a_json_file_are_noted(tmp_path):
    box = [shape("x", [[0, 0], [9, 9]], "rectangle")]
    for name in ("a", "deep/b", "deep/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write((tmp_path / name).parent, name.rpartition("/")[2], box)
    assert read_labelme(tmp_path).notes == []
    for name in ("deep/c.json", "a.json"):
        (tmp_path / name).unlink()
    found = read_labelme(tmp_path)
    assert found.notes == ["2 images without a JSON file were left out"]
    assert [image.name for image in found.images] == ["deep/b.png"]
    (tmp_path / "json").mkdir()
    (tmp_path / "deep/b.json").rename(tmp_path / "json/b.json")
    assert read_labelme(tmp_path / "json", images=tmp_path / "deep").notes == [
        "1 images without a JSON file were left out"
    ]


def test_listed_classes_have_their_order_and_others_are_refused(tmp_path):
    source = write(tmp_path, "a", [shape("b", [[0, 0], [9, 9]], "rectangle")])
    names = ["__ignore__", "_background_", "c", "b"]
    assert read_labelme(source, classes=names).classes == ["background", "c", "b"]
    with pytest.raises(UsageError, match="the labels b are not listed; list or ignore them"):
        read_labelme(source, classes=["c"])
    (tmp_path / "other.json").write_text('{"images": []}')
    assert read_labelme(source).notes == ["1 JSON files without shapes were left out"]


@pytest.mark.parametrize(
    ("shapes", "more", "words"),
    [
        ([shape("x", [[1, 1], [2, 2]])], {}, "shape 1, x: a polygon of 2 points"),
        ([shape("x", [[1, 1]], "circle")], {}, "shape 1, x: a circle of 1 points"),
        ([shape("x", [[1, 1], [2, 2], [3, 1]], "star")], {}, "a shape of type star, which labelme does not draw"),
        ([shape("x", [[1, 1], [2, 2]], "mask")], {}, "a mask without its pixels"),
        ([shape("x", [[1, 1], [2, 2]], "mask", mask="%%")], {}, "shape 1, x: "),
        ([shape("x", [[1, 1], [2, 2]], "mask", mask="aGVsbG8=")], {}, "shape 1, x: cannot identify image"),
        ([shape("x", [[1, 1, 1]])], {}, "points are no"),
        ([shape("x", [[1, None]])], {}, "points are no"),
        ([shape("x", [[1, float("nan")]])], {}, "points are no"),
        ([shape("x", [[1, 10**400]])], {}, "has 401 digits"),
        ([shape("x", [[1, 10**18]])], {}, "points are no"),
        ([shape("x", [[1e300, 1], [2, 2]], "mask", mask=png(np.ones((1, 1), np.uint8)))], {}, "points are no"),
        ([{"points": [[1, 1]]}], {}, "lacks a label"),
        ([shape(" ", [[1, 1]], "point")], {}, "lacks a label"),
        ("none", {}, "shapes is not a list"),
        (
            [shape("x", [[0, 0], [9, 9]], "rectangle")],
            {"imageWidth": 7},
            "is drawn on 7x40 pixels, its image",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, shapes, more, words):
    write(tmp_path, "a", shapes, **more)
    with pytest.raises(UsageError, match=r"a\.json") as error:
        draw_first(read_labelme(tmp_path))
    assert words in str(error.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b'{"a": 1}'])
def test_files_that_are_not_labelmes_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.json is not valid JSON|there is no JSON file of labelme"):
        read_labelme(tmp_path)
