"""The choice of boxes in NumPy against the network's own in Paddle, and against a slow reference."""

import numpy as np
import paddle
import pytest
import slow_instance_references as slow

from paddle_pointrend.inference import boxes
from paddle_pointrend.models.instance.box_head import BoxHead
from paddle_pointrend.models.instance.roi_align import box_levels
from paddle_pointrend.models.instance.rpn import RPN, AnchorPredictions

SIZE = (90, 120)
THRESHOLDS = {"score_threshold": 0.15, "nms_threshold": 0.5, "max_detections": 30}


def random_boxes(random, *shape):
    corners = random.uniform(-20, 130, (*shape, 2, 2)).astype("float32")
    return np.concatenate([corners.min(-2), corners.max(-2)], -1)


@pytest.mark.parametrize("seed", range(3))
def test_nms_with_ties_and_groups(seed):
    random = np.random.default_rng(seed)
    given = random_boxes(random, 80)
    given[10], given[30, 2] = given[20], given[30, 0]  # twice the same, and one without area
    scores, groups = random.integers(0, 9, 80).astype("float32"), random.integers(0, 3, 80)
    kept = boxes.batched_nms(given, scores, groups, 0.3)
    assert kept.tolist() == slow.nms(given.astype(float), scores, groups, 0.3)
    assert 5 < len(kept) < 80


@pytest.mark.parametrize("seed", range(3))
def test_detections_are_the_box_heads(seed):
    random = np.random.default_rng(seed)
    given, logits = random_boxes(random, 60, 3), random.normal(0, 1.5, (60, 4)).astype("float32")
    given[5, 0, 0], logits[6, 1] = np.inf, np.nan
    head = BoxHead(3, 4, (4, 8), fc_channels=4, **THRESHOLDS)
    probabilities = paddle.nn.functional.softmax(paddle.to_tensor(logits), axis=1)
    expected = head._detect_in_image(paddle.to_tensor(given), probabilities, SIZE)
    found = boxes.choose_detections(given, probabilities.numpy(), SIZE, **THRESHOLDS)
    assert len(found[0]) == 30
    for ours, theirs in zip(found, expected):
        np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("seed", range(3))
def test_proposals_are_the_rpns(seed):
    random = np.random.default_rng(seed)
    counts = (300, 70, 20)
    logits = [random.normal(0, 3, n).astype("float32") for n in counts]
    anchors = [random_boxes(random, n) for n in counts]
    logits[0][3], anchors[1][4, 0] = np.nan, -np.inf
    rpn = RPN(4, (4, 8, 16), anchor_sizes=(8, 16, 32), pre_nms_top_n=(9, 50), post_nms_top_n=(9, 60))
    rpn.eval()
    centres = [np.tile(np.float32([[0, 0, 1, 1]]), (n, 1)) for n in counts]
    predictions = AnchorPredictions(*(list(map(paddle.to_tensor, part)) for part in (logits, centres, anchors)))
    predictions = predictions._replace(
        logits=[x.unsqueeze(0) for x in predictions.logits],
        deltas=[paddle.zeros([1, n, 4]) for n in counts],
    )
    (expected,), _ = rpn.propose(predictions, [SIZE])
    found = boxes.choose_proposals(
        anchors, logits, SIZE, pre_nms_top_n=50, post_nms_top_n=60, nms_threshold=rpn.nms_threshold
    )
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert len(found) == 60


def test_levels_are_the_networks():
    random = np.random.default_rng(0)
    sides = np.exp(random.uniform(0, 7, (500, 2)))
    given = np.concatenate([np.zeros((500, 2)), sides], 1).astype("float32")
    levels = boxes.box_levels(given, (4, 8, 16, 32))
    np.testing.assert_array_equal(levels, box_levels(paddle.to_tensor(given), (4, 8, 16, 32)))
    assert set(levels) == {0, 1, 2, 3}


def test_nothing():
    nothing = np.zeros((0, 4), np.float32)
    assert boxes.batched_nms(nothing, np.zeros(0), np.zeros(0, int), 0.5).shape == (0,)
    found = boxes.choose_detections(np.zeros((0, 3, 4)), np.zeros((0, 4)), SIZE, **THRESHOLDS)
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]
