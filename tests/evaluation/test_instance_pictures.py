"""Pictures of instances."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from paddle_pointrend.evaluation import fonts
from paddle_pointrend.evaluation.instance_pictures import draw_instances, instance_colors, instance_labels


@pytest.fixture
def image():
    return np.full((120, 160, 3), 100, np.uint8)


def _masks(*windows):
    masks = np.zeros((len(windows), 120, 160), bool)
    for mask, (left, top, right, bottom) in zip(masks, windows):
        mask[top:bottom, left:right] = True
    return np.array(windows, np.float32), masks


def test_masks_are_tinted_and_the_rest_stays(image):
    boxes, masks = _masks((20, 30, 80, 90))
    picture = draw_instances(image, boxes, masks, [""], np.array([[255, 0, 0]]))
    np.testing.assert_array_equal(picture[60, 50], [169, 55, 55])
    np.testing.assert_array_equal(picture[30, 20], [255, 0, 0])
    outside = np.ones((120, 160), bool)
    outside[30:90, 20:80] = False
    assert (picture[outside] == 100).all()
    assert (image == 100).all()


def test_the_first_lies_on_top(image):
    boxes, masks = _masks((20, 30, 80, 90), (20, 30, 80, 90))
    picture = draw_instances(image, boxes, masks, ["", ""], np.array([[255, 0, 0], [0, 255, 0]]))
    red, green, _ = picture[60, 50].astype(int)
    assert red > green
    np.testing.assert_array_equal(picture[30, 40], [255, 0, 0])


@pytest.mark.parametrize("window", [(100, 0, 160, 40), (0, 60, 50, 120)])
def test_labels_stay_inside_the_picture(image, window):
    boxes, masks = _masks(window)
    plain = draw_instances(image, boxes, masks, [""], np.array([[0, 0, 255]]))
    labelled = draw_instances(image, boxes, masks, ["window 97"], np.array([[0, 0, 255]]))
    changed = np.argwhere((plain != labelled).any(-1))
    assert len(changed) > 100
    assert changed.min(0)[1] >= min(window[0], 160 - 60)


def test_a_label_does_not_cover_the_neighbours_of_a_small_box(image):
    boxes, masks = _masks((60, 60, 70, 70))
    plain, labelled = (draw_instances(image, boxes, masks, [text], np.array([[0, 0, 255]])) for text in ("", "window"))
    np.testing.assert_array_equal(plain, labelled)


def square_font(path, letters):
    """Writes a font whose letters, and digits, are squares of 0.8 em above the baseline."""
    pen = TTGlyphPen(None)
    for move, corner in zip([pen.moveTo, *[pen.lineTo] * 3], [(100, 0), (100, 800), (900, 800), (900, 0)]):
        move(corner)
    pen.closePath()
    builder, names = FontBuilder(1000), [".notdef", "square"]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): "square" for letter in (*letters, *"0123456789. ")})
    builder.setupGlyf(dict(zip(names, (TTGlyphPen(None).glyph(), pen.glyph()))))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def system_fonts(monkeypatch):
    """A list, of the system's font files; the package that draws charts brings DejaVu Sans, which has no Chinese."""
    files = []
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: files)
    for cached in (fonts._find, fonts._font_files, fonts._warn):
        cached.cache_clear()
    yield files
    for cached in (fonts._find, fonts._font_files, fonts._warn):
        cached.cache_clear()


def test_a_name_that_is_not_ascii_is_drawn_in_a_font_that_has_it(image, tmp_path, system_fonts):
    square_font(tmp_path / "other.ttf", "猫")
    square_font(tmp_path / "squares.ttf", "狗")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    system_fonts += [str(tmp_path / name) for name in ("broken.ttf", "other.ttf", "squares.ttf")]
    labels = instance_labels([1, 0, 2], [0.934, 0.5, 0.25], ["dog", "狗", "鱼"])
    assert labels == ["狗 0.93", "dog 0.50", "class 2 0.25"]
    boxes, masks = _masks((20, 60, 140, 110))
    plain, labelled = (draw_instances(image, boxes, masks, [text], np.array([[0, 0, 255]])) for text in ("", "狗"))
    changed = (plain != labelled).any(-1)
    assert changed[:60].sum() == changed.sum() > 0  # above the box
    side = 0.8 * 13  # pixels
    ink = labelled[..., 0] * changed / 255
    assert abs(ink.sum() - side**2) < side
    rows, columns = np.nonzero(ink > 0.5)
    assert abs(np.ptp(rows) + 1 - side) < 1 and abs(np.ptp(columns) + 1 - side) < 1
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_letters_that_no_font_has_are_not_drawn(image, system_fonts, caplog):
    assert instance_labels([0, 1], [0.5, 0.5], ["狗", "猫"]) == ["class 0 0.50", "class 1 0.50"]
    assert [record.message[:38] for record in caplog.records] == ["No font of this system has the letters"]
    assert instance_labels([0], [0.5], ["Gebäude"]) == ["Gebäude 0.50"]
    boxes, masks = _masks((20, 60, 140, 110))
    plain, labelled = (draw_instances(image, boxes, masks, [text], np.array([[0, 0, 255]])) for text in ("", "狗"))
    np.testing.assert_array_equal(plain, labelled)


def test_no_instances(image):
    boxes, masks = np.zeros((0, 4)), np.zeros((0, 120, 160), bool)
    np.testing.assert_array_equal(draw_instances(image, boxes, masks, [], instance_colors(0)), image)


def test_neighbours_have_colours_that_differ():
    colors = instance_colors(100).astype(int)
    assert len(np.unique(colors, axis=0)) > 90
    assert np.abs(np.diff(colors, axis=0)).max(1).min() > 60


def test_what_does_not_fit_is_refused(image):
    boxes, masks = _masks((20, 30, 80, 90))
    with pytest.raises(ValueError, match="expected one number"):
        draw_instances(image, boxes, masks, [], np.array([[255, 0, 0]]))
    with pytest.raises(ValueError, match="a mask is of"):
        draw_instances(image[:50], boxes, masks, [""], np.array([[255, 0, 0]]))
    with pytest.raises(ValueError, match="expected uint8"):
        draw_instances(image / 255, boxes, masks, [""], np.array([[255, 0, 0]]))
