import numpy as np
import paddle
import pytest
import slow_instance_references as slow

from paddle_pointrend.models.instance import anchors, boxes


def random_boxes(count, seed=0, size=60):
    corners = np.random.default_rng(seed).uniform(0, size, (count, 2, 2))
    return np.concatenate([corners.min(1), corners.max(1) + 1], axis=1).astype("float32")


def test_iou():
    first, second = random_boxes(7), random_boxes(5, 1)
    first[2, 2] = first[2, 0]  # of no area
    measured = boxes.pairwise_iou(paddle.to_tensor(first), paddle.to_tensor(second)).numpy()
    np.testing.assert_allclose(measured, [[slow.iou(a, b) for b in second] for a in first], rtol=1e-5)
    flat = paddle.to_tensor(first[2:3])
    assert float(boxes.pairwise_iou(flat, flat)) == 0


def test_iou_without_boxes():
    assert boxes.pairwise_iou(paddle.zeros([0, 4]), paddle.to_tensor(random_boxes(5))).shape == [0, 5]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_deltas(weights):
    random = np.random.default_rng(3)
    references, deltas = random_boxes(20), random.standard_normal((20, 4)).astype("float32")
    deltas[0, 2:] = 40  # is cut off
    decoded = boxes.decode_boxes(paddle.to_tensor(deltas), paddle.to_tensor(references), weights)
    expected = [slow.decode(d, r, weights) for d, r in zip(deltas.astype(float), references.astype(float))]
    np.testing.assert_allclose(decoded.numpy(), expected, rtol=1e-4, atol=1e-3)
    encoded = boxes.encode_boxes(decoded, paddle.to_tensor(references), weights).numpy()
    np.testing.assert_allclose(encoded[1:], deltas[1:], atol=1e-4)


def test_clipping_and_empty_boxes():
    given = paddle.to_tensor([[-5.0, 3.0, 20.0, 90.0], [70.0, 10.0, 80.0, 20.0]])
    clipped = boxes.clip_boxes(given, (40, 60))
    assert clipped.tolist() == [[0, 3, 20, 40], [60, 10, 60, 20]]
    assert boxes.nonempty(clipped).tolist() == [True, False]


@pytest.mark.parametrize("seed", range(4))
def test_nms_with_ties_and_groups(seed):
    random = np.random.default_rng(seed)
    given = random_boxes(60, seed, 30)
    given[10] = given[20]
    scores = random.integers(0, 8, 60).astype("float32")  # many are equal
    groups = random.integers(0, 3, 60)
    kept = boxes.batched_nms(*map(paddle.to_tensor, (given, scores, groups)), 0.5).numpy()
    assert kept.tolist() == slow.nms(given.astype(float), scores, groups, 0.5)
    assert 5 < len(kept) < 60


def test_nms_of_nothing():
    nothing = boxes.batched_nms(paddle.zeros([0, 4]), paddle.zeros([0]), paddle.zeros([0], "int64"), 0.5)
    assert nothing.shape == [0]


def test_cell_anchors_are_those_of_the_reference():
    # detectron2's docs: size 32, ratios 0.5, 1 and 2.
    expected = [[-22.6274, -11.3137, 22.6274, 11.3137], [-16, -16, 16, 16], [-11.3137, -22.6274, 11.3137, 22.6274]]
    np.testing.assert_allclose(anchors.cell_anchors(32, [0.5, 1, 2]), expected, rtol=1e-5)


def test_anchors_run_over_columns_before_rows():
    cell = np.float32([[-1, -2, 1, 2], [-3, -3, 3, 3]])
    grid = anchors.grid_anchors(2, 3, 8, cell).numpy().reshape(2, 3, 2, 4)
    for row in range(2):
        for column in range(3):
            shift = np.float32([column * 8, row * 8] * 2)
            np.testing.assert_array_equal(grid[row, column], cell + shift)
