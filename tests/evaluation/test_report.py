"""The report, read back: its pictures decoded, its tables and text parsed."""

import dataclasses
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from report_page import Page

from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.evaluation import charts, report, report_parts, visualize
from paddle_pointrend.evaluation.figures import Sample, SubdivisionStep, comparison_figure
from paddle_pointrend.evaluation.metrics import SegmentationMetrics

NAMES = ["road", "<pole> & sign", "sky"]
PALETTE = default_palette(3)


def make_sample(name="street 1", height=60, width=80):
    rng = np.random.default_rng(0)
    truth = np.zeros((height, width), np.uint8)
    truth[:20] = 2
    truth[10:50, 30:34] = 1
    truth[:5, :5] = 255
    coarse, refined = truth.copy(), truth.copy()
    coarse[truth == 255] = refined[truth == 255] = 0
    coarse[10:50, 30:32] = 0  # 80 pixels that refinement puts right
    refined[30:32, 36:40] = 1  # 8 that it spoils
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    steps = [SubdivisionStep(rng.random((50, 2)), (15, 20)), (rng.random((70, 2)), (30, 40))]
    return Sample(name, image, truth, coarse, refined, steps)


def summaries_of(sample):
    result = {}
    for name in ("coarse", "refined"):
        metrics = SegmentationMetrics(3)
        metrics.update(getattr(sample, name), sample.truth)
        result[name] = metrics.summary()
    return result


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "new folder" / "report.html"
    sample = make_sample()
    returned = report.write_report(
        path,
        title='A <run> & "more"',
        metadata={"config": "configs/<a>.yml", "seed": 7},
        samples=[sample],
        summaries=summaries_of(sample),
        class_names=NAMES,
        palette=PALETTE,
        curves={
            "loss <1>": ([1, 2, 3], [3.0, 2.0, float("nan")]),
            "rate": (range(100), np.linspace(1, 0, 100)),
        },
    )
    assert returned == path
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return sample, path.read_text(encoding="utf-8")


def test_it_is_whole_and_loads_nothing(written):
    page = Page(written[1])
    assert all(link.startswith("data:image/") for link in page.links)
    assert "script" not in page.tags and "link" not in page.tags
    assert not re.search(r"https?://|@import|url\(", written[1])
    assert "prefers-color-scheme:dark" in written[1]


def test_text_is_escaped(written):
    page = Page(written[1])
    text = " ".join(page.words)
    assert 'A <run> & "more"' in text and "configs/<a>.yml" in text and "loss <1>" in text
    assert not {"run", "a", "pole"} & set(page.tags)


def test_pictures_are_those_of_the_sample(written):
    sample, page = written[0], Page(written[1])
    pictures = {alt: picture for alt, _, picture in page.images}
    assert [alt for alt, _, _ in page.images] == [
        *("image", "truth", "coarse", "refined", "difference"),
        *("image, 5x", "truth, 5x", "coarse, 5x", "refined, 5x", "difference, 5x"),
        "step 1: points on the 20 x 15 map",
        "step 2: points on the 40 x 30 map",
    ]
    # The only 12 x 16 window with the most changed pixels starts where the two-pixel strip and the blot fit in.
    rows, columns = visualize.busiest_window(sample.coarse != sample.refined, 12, 16)
    np.testing.assert_array_equal(pictures["coarse, 5x"], visualize.colorize(sample.coarse, PALETTE)[rows, columns])
    np.testing.assert_array_equal(pictures["image, 5x"], sample.image[rows, columns])
    truth, framed = visualize.colorize(sample.truth, PALETTE), pictures["truth"]
    changed = np.argwhere((truth != framed).any(axis=2))
    assert changed.min(axis=0).tolist() >= [rows.start - 2, columns.start - 2] and len(changed) < 400


def test_counts_are_told_in_words(written):
    text = " ".join(Page(written[1]).words)
    judged = 60 * 80 - 25
    assert f"88 pixels differ ({8800 / judged:.2f} % of those judged)" in text
    assert "refined is right on 80 (91 %), coarse on 8 (9 %), neither on 0 (0 %)" in text
    assert "50 points, 16.7 % of the map's cells" in text


def test_tables_hold_the_summaries(written):
    summaries = summaries_of(written[0])
    rows = Page(written[1]).rows
    for name, key in (("mIoU", "miou"), ("boundary IoU", "boundary_iou")):
        values = [100 * summaries[part][key] for part in ("coarse", "refined")]
        change = f"{values[1] - values[0]:+.2f}".replace("-", "\u2212")
        assert [name, f"{values[0]:.2f}", f"{values[1]:.2f}", change] in rows
    pole = next(row for row in rows if row[0] == NAMES[1])
    assert pole[1] == f"{100 * summaries['coarse']['class_iou'][1]:.2f}"
    assert pole[5] == f"{100 * summaries['refined']['class_boundary_iou'][1]:.2f}"


@pytest.mark.parametrize(
    ("coarse", "refined", "bold", "change"),
    [
        (0.5, 0.6, ["60.00"], "+10.00"),
        (0.6, 0.5, ["60.00"], "&minus;10.00"),
        (0.5, 0.500001, [], "+0.00"),
        (None, 0.5, [], None),
    ],
)
def test_the_better_one_is_bold(coarse, refined, bold, change):
    cells = report_parts.cells(coarse, refined)
    assert re.findall("<b>(.*?)</b>", cells) == bold
    assert (change is None and cells.endswith("<td>-</td>")) or f">{change}<" in cells


def test_curve_draws_values_where_they_belong():
    svg = ElementTree.fromstring(charts.curve_svg("loss & co", [0, 50, 100], [0.0, 10.0, 5.0]))
    assert svg.find("text").text == "loss & co"
    line = next(path.get("d") for path in svg.iter("path") if path.get("class") == "line")
    x, y = np.array(line[1:].split(), float).reshape(-1, 2).T
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert y[0] > y[2] > y[1] and y[2] == pytest.approx((y[0] + y[1]) / 2, abs=0.2)
    labels = [text.text for text in svg.iter("text")]
    assert {"0", "10", "100", "iteration", "last 5"} <= set(labels)


def test_curve_of_noise_keeps_every_value_and_adds_a_running_mean():
    values = np.tile([0.0, 2.0], 200)
    svg = ElementTree.fromstring(charts.curve_svg("noise", range(400), values))
    heights = {
        path.get("class"): np.array(path.get("d")[1:].split(), float).reshape(-1, 2)[:, 1]
        for path in svg.iter("path")
        if path.get("class") in ("faint", "line")
    }
    assert len(heights["faint"]) == 400
    assert np.ptp(heights["line"]) < 0.01 * np.ptp(heights["faint"])


def test_curve_edge_cases():
    assert "&lt;a&gt;: no values" in charts.curve_svg("<a>", [], [])
    assert "no values" in charts.curve_svg("a", [1], [np.nan])
    assert "<circle" in charts.curve_svg("a", [5], [2.0])
    ElementTree.fromstring(charts.curve_svg("constant zero", [1, 2], [0.0, 0.0]))
    with pytest.raises(ValueError, match="'a' has 2 iterations and 1 values"):
        charts.curve_svg("a", [1, 2], [1])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.013, 0.0171), (-3, 1200), (2, 2), (0, 0), (1e-9, 3e-9)])
def test_ticks_are_even_and_enclose(low, high):
    ticks = charts._ticks(low, high)
    slack = 1e-6 * (ticks[-1] - ticks[0])
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-6)


def test_comparison_figure_shows_four_panels_and_the_window():
    sample = make_sample()
    figure = comparison_figure(sample, PALETTE, panel_width=160)
    assert figure.dtype == np.uint8 and figure.shape == (28 + 120 + 8 + 120, 4 * 160 + 3 * 8, 3)
    corrected = (sample.refined == sample.truth) & (sample.coarse != sample.truth)
    rows, columns = visualize.busiest_window(corrected, 12, 16)
    window = visualize.colorize(sample.refined, PALETTE)[rows, columns]
    np.testing.assert_array_equal(figure[-120:, -160:], window.repeat(10, 0).repeat(10, 1))
    for start in range(0, 672, 168):
        assert figure[:28, start : start + 160].min() < 100


def test_large_pictures_are_shrunk_but_windows_are_not(tmp_path):
    sample = make_sample()
    path = report.write_report(
        tmp_path / "r.html",
        title="t",
        metadata={},
        samples=[sample],
        summaries=summaries_of(sample),
        class_names=NAMES,
        palette=PALETTE,
        max_side=40,
    )
    sizes = {alt: picture.shape for alt, _, picture in Page(path.read_text()).images}
    assert sizes["truth"] == (30, 40, 3) and sizes["truth, 5x"] == (12, 16, 3)


def test_equal_predictions_are_said_to_agree():
    counts = {"refined_right": 0, "coarse_right": 0, "both_wrong": 0, "different": 0, "counted": 0}
    assert "agree" in report_parts.difference_verdict(counts)


def test_a_single_prediction_is_compared_with_the_truth_alone(tmp_path):
    sample = dataclasses.replace(make_sample(), coarse=None, steps=[], note="Mean IoU 12.3.")
    page = report.write_report(
        tmp_path / "r.html",
        title="t",
        metadata={},
        samples=[sample],
        summaries={"prediction": summaries_of(make_sample())["refined"]},
        class_names=NAMES,
        palette=PALETTE,
    )
    page = Page(page.read_text())
    pictures = {alt: picture for alt, _, picture in page.images}
    names = ["image", "truth", "prediction", "mistakes"]
    assert list(pictures) == [*names, *(f"{name}, 5x" for name in names)]
    wrong = (sample.refined != sample.truth) & (sample.truth != 255)
    window = visualize.busiest_window(wrong, 12, 16)
    is_red = (pictures["mistakes, 5x"] == visualize.WRONG_COLOR).all(axis=2)
    np.testing.assert_array_equal(is_red, wrong[window])
    text = " ".join(page.words)
    assert "there is no coarse one to compare it with" in text
    assert f"Mean IoU 12.3. {100 * 8 / (60 * 80 - 25):.2f} % of the judged pixels are wrong." in text
    miou = summaries_of(make_sample())["refined"]["miou"]
    assert ["mIoU", f"{100 * miou:.2f}"] in page.rows
    assert not {"coarse", "difference"} & {cell for row in page.rows for cell in row}


def test_what_does_not_fit_is_named(tmp_path):
    sample = make_sample()
    good = {"title": "t", "metadata": {}, "samples": [sample], "summaries": summaries_of(sample)}
    with pytest.raises(ValueError, match="3 class names for 2 colours"):
        report.write_report(tmp_path / "r", class_names=NAMES, palette=PALETTE[:2], **good)
    good["summaries"] = {"refined": good["summaries"]["refined"]}
    with pytest.raises(ValueError, match="expected \\['coarse', 'refined'\\]"):
        report.write_report(tmp_path / "r", class_names=NAMES, palette=PALETTE, **good)
    with pytest.raises(ValueError, match="sample 'x' has parts of different sizes"):
        Sample("x", sample.image, sample.truth, sample.coarse[:9], sample.refined)
    assert list(tmp_path.iterdir()) == []
