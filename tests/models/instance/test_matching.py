import numpy as np
import paddle
import pytest
import slow_instance_references as slow
import tiny_mask_rcnn as tiny

from paddle_pointrend.models.instance.matching import match_boxes, sample_labels, sample_proposals
from paddle_pointrend.models.instance.structures import usable_targets


@pytest.mark.parametrize("low_quality", [True, False])
def test_matching_is_the_definition(low_quality):
    ious = np.random.default_rng(0).integers(0, 11, (4, 40)).astype("float32") / 10  # many ties, many at a threshold
    ious[:, :10] /= 5
    ious[3] = np.minimum(ious[3], 0.2)  # an object that nothing overlaps well
    matches, labels = match_boxes(paddle.to_tensor(ious), (0.3, 0.7), [0, -1, 1], low_quality_matches=low_quality)
    expected = slow.match(ious, np.float32(0.3), np.float32(0.7), low_quality)
    assert list(zip(matches.tolist(), labels.tolist())) == expected
    assert set(labels.tolist()) == {-1, 0, 1}


def test_without_objects_everything_is_background():
    matches, labels = match_boxes(paddle.zeros([0, 5]), (0.5,), [0, 1])
    assert matches.tolist() == [0] * 5 and labels.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("positives", "negatives", "counts"), [(40, 100, (8, 24)), (3, 100, (3, 29)), (40, 10, (8, 10)), (0, 5, (0, 5))]
)
def test_samples_are_balanced(positives, negatives, counts):
    paddle.seed(0)
    labels = np.random.default_rng(0).permutation([1] * positives + [7] * negatives + [-1] * 20)
    drawn = sample_labels(labels, 32, 0.25, background=7)
    assert tuple(map(len, drawn)) == counts
    for places, label in zip(drawn, (1, 7)):
        assert (labels[places] == label).all() and len(set(places)) == len(places)
    again = sample_labels(labels, 32, 0.25, background=7)
    assert negatives <= 10 or set(again[1]) != set(drawn[1])


def test_objects_are_among_the_sampled_boxes():
    target = usable_targets(tiny.targets()[0], tiny.SIZES[0])
    proposals = paddle.to_tensor([[60.0, 0.0, 70.0, 10.0], [29.0, 21.0, 80.0, 60.0]])
    sample = sample_proposals(proposals, target, 3, 512, 0.25, 0.5)
    assert len(sample.boxes) == 4
    found = {tuple(box): (c, m) for box, c, m in zip(sample.boxes.tolist(), sample.classes, sample.matches)}
    assert found[5, 5, 40, 30] == (0, 0) and found[30, 20, 80, 60] == (2, 1) and found[29, 21, 80, 60] == (2, 1)
    assert found[60, 0, 70, 10][0] == 3
    assert sample.classes.tolist()[3] == 3  # background last
