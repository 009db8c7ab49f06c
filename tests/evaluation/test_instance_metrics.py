"""AP of boxes, masks and boundaries against a slow reference in NumPy."""

import numpy as np
import pytest

from paddle_pointrend.data.masks import encode_mask
from paddle_pointrend.evaluation import InstanceMetrics, instance_table
from paddle_pointrend.evaluation.boundary import boundary_width
from paddle_pointrend.evaluation.instances import boundary_run_lengths

SIZE = (60, 80)
CLASSES = (3, 7)
THRESHOLDS = np.linspace(0.5, 0.95, 10)


def slow_boundary(mask):
    """The mask's pixels with a pixel outside of it, or the image's border, within the width, by looking at each."""
    width = boundary_width(*mask.shape)
    padded = np.pad(mask, width)
    edge = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask)):
        edge[y, x] = not padded[y : y + 2 * width + 1, x : x + 2 * width + 1].all()
    return edge


def _iou(a, b, crowd=False):
    union = a.sum() if crowd else (a | b).sum()
    return (a & b).sum() / union if union else 0.0


def _box_mask(box):
    x, y, width, height = box
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def _similarity(kind, found, truth):
    crowd = truth["crowd"]
    if kind == "box":
        return _iou(_box_mask(found["box"]), _box_mask(truth["box"]), crowd)
    iou = _iou(found["mask"], truth["mask"], crowd)
    if kind == "mask" or crowd:
        return iou
    return min(iou, _iou(slow_boundary(found["mask"]), slow_boundary(truth["mask"])))


def slow_ap(truths, detections, kind, category, threshold):
    """Matches greedily, best score first; precision is made monotonic and read at 101 recalls."""
    hits, misses, crowds = [], [], []
    mine = [item for item in truths if item["category"] == category]
    taken = set()
    ranked = sorted((d for d in detections if d["category"] == category), key=lambda d: -d["score"])
    for found in ranked:
        best, chosen = threshold, None
        for i, truth in enumerate(mine):
            if truth["image"] != found["image"] or truth["crowd"] or i in taken:
                continue
            similarity = _similarity(kind, found, truth)
            if similarity >= best:
                best, chosen = similarity, i
        in_crowd = chosen is None and any(
            truth["crowd"] and truth["image"] == found["image"] and _similarity(kind, found, truth) >= threshold
            for truth in mine
        )
        taken |= {chosen} - {None}
        crowds.append(in_crowd)
        hits.append(chosen is not None)
        misses.append(chosen is None and not in_crowd)
    to_find = sum(not truth["crowd"] for truth in mine)
    right, wrong = np.cumsum(hits), np.cumsum(misses)
    precision = right / np.maximum(right + wrong, 1e-9)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = right / to_find
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return np.mean([precision[i] if i < len(precision) else 0.0 for i in at])


@pytest.fixture(scope="module")
def scene():
    """Discs in three images, one of them a crowd, and detections that are those discs moved, doubled or invented."""
    random_state = np.random.RandomState(3)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]

    def disc(centre, radius):
        return np.hypot(y - centre[0], x - centre[1]) < radius

    def item(image, category, mask, **more):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        return {"image": image, "category": category, "mask": mask, "box": [int(v) for v in box], **more}

    truths, detections = [], []
    for image in (1, 2, 3):
        for number in range(6):
            centre, radius = random_state.uniform((5, 5), (55, 75)), random_state.uniform(4, 14)
            category = CLASSES[number % 2]
            truths.append(item(image, category, disc(centre, radius), crowd=int(image == 2 and number == 4)))
            for _ in range(random_state.randint(0, 4)):
                moved = disc(centre + random_state.normal(0, 0.5, 2), radius * random_state.uniform(0.93, 1.07))
                detections.append(item(image, category, moved, score=float(random_state.rand())))
        invented = disc(random_state.uniform((5, 5), (55, 75)), 8)
        detections.append(item(image, CLASSES[0], invented, score=float(random_state.rand())))
    return truths, detections


def _truth_dict(truths):
    return {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in (1, 2, 3)],
        "categories": [{"id": i, "name": str(i)} for i in CLASSES],
        "annotations": [
            {
                "id": i,
                "image_id": truth["image"],
                "category_id": truth["category"],
                "bbox": truth["box"],
                "area": float(truth["mask"].sum()),
                "iscrowd": truth["crowd"],
                "segmentation": encode_mask(truth["mask"]),
            }
            for i, truth in enumerate(truths, start=1)
        ],
    }


def _results(detections):
    return [
        {
            "image_id": item["image"],
            "category_id": item["category"],
            "bbox": item["box"],
            "score": item["score"],
            "segmentation": encode_mask(item["mask"]),
        }
        for item in detections
    ]


@pytest.mark.parametrize("kind", ["box", "mask", "boundary"])
def test_average_precision_is_the_slow_references(scene, kind):
    truths, detections = scene
    summary = InstanceMetrics(_truth_dict(truths)).summary(_results(detections), [kind])[kind]
    slow = np.array([[slow_ap(truths, detections, kind, c, t) for t in THRESHOLDS] for c in CLASSES])
    np.testing.assert_allclose(summary["ap"], slow.mean(), atol=1e-9)
    np.testing.assert_allclose(summary["class_ap"], slow.mean(1), atol=1e-9)
    np.testing.assert_allclose([summary["ap50"], summary["ap75"]], slow[:, [0, 5]].mean(0), atol=1e-9)
    assert 0.1 < summary["ap"] < 0.9


def test_boundary_ap_is_the_strictest(scene):
    summary = InstanceMetrics(_truth_dict(scene[0])).summary(_results(scene[1]))
    assert summary["boundary"]["ap"] < summary["mask"]["ap"] - 0.05


@pytest.mark.parametrize("size", [(60, 80), (7, 9), (200, 150)])
def test_boundaries_are_the_slow_references(size):
    random_state = np.random.RandomState(0)
    mask = np.zeros(size, bool)
    mask[: size[0] // 2, size[1] // 3 :] = True
    mask |= random_state.rand(*size) < 0.02
    wanted = encode_mask(slow_boundary(mask))
    assert boundary_run_lengths(encode_mask(mask))["counts"].decode() == wanted["counts"]


def test_nothing_found_is_zero_and_nothing_to_find_is_none(scene):
    truth = _truth_dict(scene[0])
    nothing = InstanceMetrics(truth).summary([])
    assert nothing["mask"]["ap"] == 0.0
    truth["annotations"] = [item for item in truth["annotations"] if item["category_id"] == CLASSES[0]]
    summary = InstanceMetrics(truth).summary(_results(scene[1]))
    assert summary["mask"]["class_ap"][1] is None
    assert summary["mask"]["ap"] == summary["mask"]["class_ap"][0]
    truth["annotations"] = []
    assert InstanceMetrics(truth).summary([])["boundary"]["ap"] is None


def test_the_areas_of_boxes_are_those_of_boxes():
    """A thin diagonal: its mask is small, its box large."""
    mask = np.eye(100, dtype=bool)
    truth = {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "line"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "area": 10000.0, "iscrowd": 0,
             "segmentation": encode_mask(mask)}
        ],
    }  # fmt: skip
    other = np.zeros_like(mask)
    other[:1] = True
    found = [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 100, 100], "score": score, "segmentation": encode_mask(m)}
        for score, m in ((0.5, mask), (0.9, other))
    ]
    summary = InstanceMetrics(truth).summary(found)
    assert summary["box"]["ap_large"] == pytest.approx(1)
    # The wrong mask, better scored, is small: where large ones are counted it does not count.
    assert summary["mask"]["ap_large"] == pytest.approx(1)
    assert summary["mask"]["ap"] == pytest.approx(0.5)


def test_the_table_shows_both_and_what_they_differ_by(scene):
    metrics = InstanceMetrics(_truth_dict(scene[0]))
    refined = metrics.summary(_results(scene[1]))
    coarse = {**refined, "mask": {**refined["mask"], "ap": refined["mask"]["ap"] - 0.1}}
    table = instance_table({"coarse": coarse, "refined": refined}, ["person", "car"]).splitlines()
    assert table[0].split() == ["coarse", "refined", "difference"]
    assert [line.split()[0] for line in table[2:5]] == ["box", "mask", "boundary"]
    assert table[3].split()[-1] == "+10.00"
    assert set(table[1]) == set(table[5]) == {"-"}
    assert table[-1].startswith("boundary AP: car")
    del refined["box"]
    assert instance_table({"mask only": refined}, ["person", "car"]).splitlines()[2].split() == ["box", "AP", "-"]
