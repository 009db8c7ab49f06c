"""The report of a run with instances, read back."""

import numpy as np
import pytest
from report_page import Page

from paddle_pointrend.evaluation import visualize
from paddle_pointrend.evaluation.instance_report import InstanceImage, write_instance_report

NAMES = ["cat", "<dog>"]


def summary(shift):
    keys = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    values = {key: 0.1 * i + shift for i, key in enumerate(keys, start=1)}
    return {kind: {**values, "class_ap": [0.25 + shift, None]} for kind in ("box", "mask", "boundary")}


def make_image(**masks):
    truth = np.zeros((2, 60, 80), bool)
    truth[0, 10:30, 10:40] = truth[1, 35:55, 50:70] = True
    boxes = np.array([[10, 10, 40, 30], [50, 35, 70, 55]])
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return InstanceImage("a <b>.png", image, boxes, truth, boxes, ["cat 0.9", ""], masks, note="Seen.")


def write(tmp_path, image, summaries):
    path = write_instance_report(
        tmp_path / "r.html",
        title="t",
        metadata={"seed": 3},
        images=[image],
        summaries=summaries,
        class_names=NAMES,
        curves={"loss mask": ([1, 2], [1.0, 0.5])},
    )
    return Page(path.read_text())


def test_coarse_and_refined_stand_side_by_side(tmp_path):
    coarse, refined = (np.zeros((2, 60, 80), bool) for _ in range(2))
    coarse[0, 10:30, 10:37] = refined[0, 10:30, 10:41] = True
    page = write(tmp_path, make_image(coarse=coarse, refined=refined), {"coarse": summary(0), "refined": summary(0.05)})
    pictures = {alt: picture for alt, _, picture in page.images}
    names = ["image", "truth", "coarse", "refined", "difference"]
    assert list(pictures) == [*names, *(f"{name}, 5x" for name in names)]
    window = visualize.busiest_window((coarse != refined).any(0), 12, 16)
    right, wrong = np.zeros((2, 60, 80), bool)
    right[10:30, 37:40] = wrong[10:30, 40] = True  # what refinement adds: of the object, and beyond it
    for where, color in ((right, visualize.RIGHT_COLOR), (wrong, visualize.WRONG_COLOR)):
        np.testing.assert_array_equal((pictures["difference, 5x"] == color).all(axis=2), where[window])
    text = " ".join(page.words)
    assert "a <b>.png" in text and "loss mask" in text
    assert "80 pixels differ (1.67 % of those judged): refined is right on 60 (75 %), coarse on 20 (25 %)" in text
    assert ["mask AP", "10.00", "15.00", "+5.00"] in page.rows
    assert ["cat", *["25.00", "30.00", "+5.00"] * 2] in page.rows
    assert ["<dog>", *["-"] * 6] in page.rows


def test_a_single_mask_is_compared_with_the_truth_alone(tmp_path):
    found = np.zeros((2, 60, 80), bool)
    found[0, 10:30, 10:37] = True
    image = make_image(prediction=found)
    page = write(tmp_path, image, {"prediction": summary(0)})
    pictures = {alt: picture for alt, _, picture in page.images}
    assert list(pictures)[:4] == ["image", "truth", "prediction", "mistakes"]
    wrong = image.true_masks.any(0) & ~found.any(0)
    np.testing.assert_array_equal(
        (pictures["mistakes, 5x"] == visualize.WRONG_COLOR).all(axis=2), wrong[visualize.busiest_window(wrong, 12, 16)]
    )
    assert ["mask AP", "10.00"] in page.rows
    assert "there is no coarse one to compare it with" in " ".join(page.words)


def test_an_image_without_objects_and_detections_is_shown(tmp_path):
    none = np.zeros((0, 60, 80), bool)
    image = make_image(coarse=none, refined=none)
    image.boxes, image.labels, image.true_boxes, image.true_masks = image.boxes[:0], [], image.boxes[:0], none
    page = write(tmp_path, image, {"coarse": summary(0), "refined": summary(0)})
    assert "The two predictions agree on every judged pixel." in " ".join(page.words)


def test_other_predictions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected \\['coarse', 'refined'\\]"):
        write(tmp_path, make_image(), {"refined": summary(0)})
