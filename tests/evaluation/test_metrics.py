"""Metrics against slow references: loops over pixels, and the boundary IoU authors' own erosion in plain NumPy."""

import json

import numpy as np
import pytest

from paddle_pointrend import evaluation as metrics


def blobs(rng, height, width, num_classes, cell=6):
    """A label map with regions of several pixels, so that boundaries and interiors both occur."""
    small = rng.integers(0, num_classes, (height // cell + 1, width // cell + 1))
    return np.kron(small, np.ones((cell, cell), int))[:height, :width].astype(np.uint8)


def slow_histogram(pred, label, num_classes, ignore_index):
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for p, t in zip(np.ravel(pred).tolist(), np.ravel(label).tolist()):
        if t != ignore_index:
            counts[t if 0 <= t < num_classes else -1, p if 0 <= p < num_classes else -1] += 1
    return counts


def slow_boundary(mask, distance):
    """The authors' mask_to_boundary: pad with zeros, erode by 3x3 d times (here by shift-and), subtract."""
    eroded = np.pad(mask, 1)
    for _ in range(distance):
        # What lies outside the padded mask must not erode it further, as in cv2.erode: pad with ones.
        around = np.pad(eroded, 1, constant_values=True)
        shifts = [around[y : y + eroded.shape[0], x : x + eroded.shape[1]] for y in range(3) for x in range(3)]
        eroded = np.logical_and.reduce(shifts)
    return mask & ~eroded[1:-1, 1:-1]


def slow_boundary_areas(pred, label, num_classes, ignore_index, distance):
    areas = np.zeros((2, num_classes), np.int64)
    for k in range(num_classes):
        a = slow_boundary((pred == k) & (label != ignore_index), distance)
        b = slow_boundary((label == k) & (label != ignore_index), distance)
        areas[:, k] = (a & b).sum(), (a | b).sum()
    return areas


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("ignore_index", [255, -1, 2])
def test_joint_histogram_is_the_loop(dtype, ignore_index):
    rng = np.random.default_rng(0)
    values = [0, 1, 2, 3, 4, 7, 255] + ([-1, -9, 100000] if dtype != np.uint8 else [])
    pred, label = (rng.choice(values, (2, 9, 11)).astype(dtype) for _ in range(2))
    got = metrics.joint_histogram(pred, label, 4, ignore_index)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, slow_histogram(pred, label, 4, ignore_index))


@pytest.mark.parametrize("ignore_index", [255, 2])
def test_class_areas_are_what_paddleseg_sums(ignore_index):
    rng = np.random.default_rng(1)
    pred, label = (rng.choice([-3, 0, 1, 2, 3, 4, 9, 255], (1, 20, 30)) for _ in range(2))
    got = metrics.class_areas(pred, label, 4, ignore_index)
    counted = label != ignore_index
    for k in range(4):  # the three lines of paddleseg.utils.metrics.calculate_area
        pred_k = (pred == k) & counted
        label_k = label == k
        assert [area[k] for area in got] == [(pred_k & label_k).sum(), pred_k.sum(), label_k.sum()]


def test_empty_input_counts_nothing():
    empty = np.zeros((0, 5), np.uint8)
    assert metrics.confusion_matrix(empty, empty, 3).sum() == 0
    assert [area.sum() for area in metrics.boundary_areas(empty, empty, 3)] == [0, 0]


def test_confusion_matrix_has_labels_as_rows():
    confusion = metrics.confusion_matrix(np.array([[1, 1, 0]]), np.array([[0, 0, 255]]), 2)
    np.testing.assert_array_equal(confusion, [[0, 2], [0, 0]])


@pytest.mark.parametrize(
    ("pred", "label", "message"),
    [
        ([[0, 1]], [[7, -1]], r"label holds -1, 7 \(2 pixels\).*\[0, 2\) or ignore_index=255"),
        ([[0, 5]], [[0, 1]], r"prediction holds 5 \(1 pixels\).*\[0, 2\)"),
    ],
)
def test_confusion_matrix_names_what_is_out_of_range(pred, label, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(np.array(pred), np.array(label), 2)


def test_predictions_on_ignored_pixels_may_be_anything():
    pred, label = np.array([[99, 0]]), np.array([[255, 0]])
    assert metrics.confusion_matrix(pred, label, 2).sum() == 1
    np.testing.assert_array_equal(metrics.boundary_areas(pred, label, 2), [[1, 0], [1, 0]])


def test_wrong_input_is_named():
    good = np.zeros((2, 3), np.uint8)
    with pytest.raises(TypeError, match="prediction has dtype float32"):
        metrics.joint_histogram(good.astype(np.float32), good, 2)
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(2, 3\)"):
        metrics.joint_histogram(good.T, good, 2)
    with pytest.raises(ValueError, match="num_classes is 0"):
        metrics.joint_histogram(good, good, 0)
    with pytest.raises(ValueError, match=r"\(1, 2, 3\)"):
        metrics.boundary_areas(good[None], good[None], 2)
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        metrics.mean_iou(good)
    with pytest.raises(ValueError, match="dilation_ratio is 0"):
        metrics.boundary_areas(good, good, 2, dilation_ratio=0)


def test_means_by_hand_with_absent_classes():
    # Class 0: 3 of 4 found; class 1: never labelled, predicted once; class 2: all found; class 3: absent.
    confusion = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(metrics.class_iou(confusion), [0.75, 0, 1, np.nan])
    np.testing.assert_allclose(metrics.class_accuracy(confusion), [0.75, np.nan, 1, np.nan])
    assert metrics.mean_iou(confusion) == pytest.approx(1.75 / 3)
    assert metrics.mean_accuracy(confusion) == pytest.approx(1.75 / 2)
    assert metrics.pixel_accuracy(confusion) == pytest.approx(5 / 6)


def test_mean_iou_is_paddleseg_s_when_every_class_occurs():
    rng = np.random.default_rng(2)
    pred, label = (rng.integers(0, 5, (30, 40)) for _ in range(2))
    intersection, pred_area, label_area = metrics.class_areas(pred, label, 5)
    expected = np.mean([i / (p + t - i) for i, p, t in zip(intersection, pred_area, label_area)])
    assert metrics.mean_iou(metrics.confusion_matrix(pred, label, 5)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ratio", [0.001, 0.03, 0.08, 0.9])
def test_boundary_areas_are_the_authors_erosions(seed, ratio):
    rng = np.random.default_rng(seed)
    height, width, num_classes = (37, 50, 4) if seed % 2 else (24, 31, 6)
    label = blobs(rng, height, width, num_classes, cell=int(rng.integers(4, 12)))
    pred = np.roll(label, rng.integers(-3, 4, 2), (0, 1))
    pred[rng.random(pred.shape) < 0.01] = 0  # single pixels
    label[5:9, :7] = 255  # ignored up to the image border
    label[rng.random(label.shape) < 0.01] = 255
    distance = max(1, round(ratio * np.hypot(height, width)))
    assert metrics.boundary_width(height, width, ratio) == distance
    got = metrics.boundary_areas(pred, label, num_classes, dilation_ratio=ratio)
    np.testing.assert_array_equal(got, slow_boundary_areas(pred, label, num_classes, 255, distance))


def test_boundary_of_many_classes():
    """More classes than a byte can tell apart."""
    label = np.arange(300).reshape(15, 20).repeat(4, 0).repeat(4, 1)
    got = metrics.boundary_areas(np.roll(label, 1, 1), label, 300, ignore_index=-1)
    expected = slow_boundary_areas(np.roll(label, 1, 1), label, 300, -1, metrics.boundary_width(60, 80))
    np.testing.assert_array_equal(got, expected)


def test_boundary_iou_by_hand():
    """A 100x100 image has d = 3: a square of side 20 has a ring of 20^2 - 14^2 pixels."""
    label = np.zeros((100, 100), np.uint8)
    label[40:60, 40:60] = 1
    intersection, union = metrics.boundary_areas(label, label, 2)
    assert (intersection[1], union[1]) == (204, 204)
    pred = np.zeros_like(label)
    pred[40:60, 42:62] = 1
    intersection, union = metrics.boundary_areas(pred, label, 2)
    # Rings of equal shape, 2 apart: 18 columns of top and bottom bands, and 1 of 3 columns of each side band.
    assert intersection[1] == 18 * 6 + 2 * 1 * 14
    assert union[1] == 2 * 204 - intersection[1]


def test_boundary_iou_is_harder_than_iou_on_a_big_object_and_equal_on_a_tiny_one():
    label = np.zeros((200, 200), np.uint8)
    label[20:180, 20:180] = 1
    summary = summary_of([(np.roll(label, 3, 1), label)], 2)
    assert summary["class_boundary_iou"][1] < summary["class_iou"][1] - 0.2
    tiny = np.zeros((200, 200), np.uint8)
    tiny[50:53, 50:53] = 1
    summary = summary_of([(np.roll(tiny, 1, 1), tiny)], 2)
    assert summary["class_boundary_iou"][1] == summary["class_iou"][1] == 0.5


def summary_of(pairs, num_classes):
    total = metrics.SegmentationMetrics(num_classes)
    for pred, label in pairs:
        total.update(pred, label)
    return total.summary()


def test_dataset_summary_sums_counts_before_dividing():
    rng = np.random.default_rng(3)
    pairs = []
    for height in (30, 45):
        label = blobs(rng, height, 40, 3)
        label[0, :5] = 255
        pairs.append((np.roll(np.where(label == 255, 0, label), 2, 1), label))
    summary = summary_of(pairs, 5)
    boundary = sum(slow_boundary_areas(p, t, 5, 255, max(1, round(0.02 * np.hypot(*t.shape)))) for p, t in pairs)
    confusion = sum(slow_histogram(p, t, 5, 255) for p, t in pairs)[:5, :5]
    iou = [confusion[k, k] / (confusion[k].sum() + confusion[:, k].sum() - confusion[k, k]) for k in range(3)]
    assert summary["class_iou"] == [*map(pytest.approx, iou), None, None]
    assert summary["miou"] == pytest.approx(np.mean(iou))
    assert summary["boundary_iou"] == pytest.approx(np.mean(boundary[0, :3] / boundary[1, :3]))
    assert summary["acc"] == pytest.approx(np.trace(confusion) / confusion.sum())
    assert summary["class_acc"][3:] == summary["class_boundary_iou"][3:] == [None, None]


def test_merging_and_loading_give_the_same_as_one_pass():
    rng = np.random.default_rng(4)
    pairs = [(blobs(rng, 30, 40, 3), blobs(rng, 30, 40, 3)) for _ in range(4)]
    whole, left, right = (metrics.SegmentationMetrics(3) for _ in range(3))
    for i, pair in enumerate(pairs):
        whole.update(*pair)
        (left if i < 2 else right).update(*pair)
    summed = metrics.SegmentationMetrics(3)
    right_state = right.state()
    summed.load_state({key: count + right_state[key] for key, count in left.state().items()})
    left.merge(right)
    assert left.summary() == whole.summary() == summed.summary()
    assert json.loads(json.dumps(whole.summary())) == whole.summary()


def test_nothing_counted_is_none_everywhere():
    summary = metrics.SegmentationMetrics(2).summary()
    assert summary["miou"] is summary["macc"] is summary["acc"] is summary["boundary_iou"] is None
    assert summary["class_iou"] == [None, None]


def test_states_and_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="num_classes is 2 here and 3 there"):
        metrics.SegmentationMetrics(2).merge(metrics.SegmentationMetrics(3))
    with pytest.raises(ValueError, match="another num_classes"):
        metrics.SegmentationMetrics(2).load_state(metrics.SegmentationMetrics(3).state())


def test_a_refused_image_leaves_the_counts_alone():
    total = metrics.SegmentationMetrics(2)
    with pytest.raises(ValueError, match="label holds 9"):
        total.update(np.zeros((4, 4), int), np.full((4, 4), 9))
    with pytest.raises(ValueError, match="one image at a time"):
        total.update(np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), int))
    assert all(count.sum() == 0 for count in total.state().values())


def test_table_shows_percent_and_the_difference():
    label = np.array([[0, 0, 1, 1]])
    coarse = summary_of([(np.array([[0, 0, 0, 1]]), label)], 3)
    refined = summary_of([(label, label)], 3)
    table = metrics.comparison_table({"coarse": coarse, "refined": refined}, ["sky", "pole", "car"])
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["coarse", "refined", "difference"]
    assert lines[2] == ["mIoU", "58.33", "100.00", "+41.67"]
    assert ["IoU:", "pole", "50.00", "100.00", "+50.00"] in lines
    assert ["IoU:", "car", "-", "-", "-"] in lines
    assert len({len(line) for line in table.splitlines()}) == 1
    alone = metrics.comparison_table({"refined": refined})
    assert "difference" not in alone and "IoU: class 2" in alone


def test_table_refuses_what_does_not_fit():
    two, three = metrics.SegmentationMetrics(2).summary(), metrics.SegmentationMetrics(3).summary()
    with pytest.raises(ValueError, match=r"\[2, 3\] classes"):
        metrics.comparison_table({"a": two, "b": three})
    with pytest.raises(ValueError, match=r"1 names.*2 classes"):
        metrics.comparison_table({"a": two}, ["road"])
    with pytest.raises(ValueError, match="no summaries"):
        metrics.comparison_table({})
