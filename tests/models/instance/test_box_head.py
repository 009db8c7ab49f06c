import numpy as np
import paddle
import pytest
import slow_instance_references as slow

from paddle_pointrend.models.instance.box_head import DELTA_WEIGHTS, BoxHead
from paddle_pointrend.models.instance.matching import SampledBoxes
from paddle_pointrend.models.instance.structures import Targets

NUM_CLASSES, SIZES = 3, [(40, 60), (36, 50)]
PROPOSALS = [
    np.float32([[2, 3, 30, 25], [4, 3, 31, 27], [20, 5, 58, 39]]),
    np.float32([[0, 0, 20, 20], [5, 5, 49, 30]]),
]


@pytest.fixture
def head():
    return BoxHead(NUM_CLASSES, 4, [4, 8], pool_size=3, fc_channels=8, score_threshold=0.1, max_detections=4)


def predictions(seed=0):
    random = np.random.default_rng(seed)
    return 2 * random.standard_normal((5, 4)), random.standard_normal((5, NUM_CLASSES, 4))


def as_tensors(*arrays):
    return [paddle.to_tensor(np.float32(array)) for array in arrays]


@pytest.mark.parametrize("seed", range(4))
def test_detections_are_the_definition(head, seed):
    scores, deltas = predictions(seed)
    found = head.detect(*as_tensors(scores, deltas), as_tensors(*PROPOSALS), SIZES)
    for image, rows in enumerate(([0, 1, 2], [3, 4])):
        height, width = SIZES[image]
        boxes, likely, classes = [], [], []
        for row, proposal in zip(rows, PROPOSALS[image]):
            probabilities = np.exp(scores[row]) / np.exp(scores[row]).sum()
            for k in range(NUM_CLASSES):
                if probabilities[k] > 0.1:
                    box = slow.decode(deltas[row, k], proposal, DELTA_WEIGHTS)
                    boxes.append(np.clip(box, 0, [width, height] * 2))
                    likely.append(probabilities[k])
                    classes.append(k)
        kept = slow.nms(boxes, likely, classes, 0.5)[:4]
        np.testing.assert_allclose(found[image][0].numpy(), [boxes[i] for i in kept], rtol=1e-4)
        np.testing.assert_allclose(found[image][1].numpy(), [likely[i] for i in kept], rtol=1e-5)
        assert found[image][2].tolist() == [classes[i] for i in kept]


def test_what_is_not_finite_is_not_found(head):
    scores, deltas = predictions()
    deltas[0, 1] = np.nan
    whole = head.detect(*as_tensors(scores[1:], deltas[1:]), as_tensors(PROPOSALS[0][1:], PROPOSALS[1]), SIZES)
    found = head.detect(*as_tensors(scores, deltas), as_tensors(*PROPOSALS), SIZES)
    np.testing.assert_allclose(found[0][0].numpy(), whole[0][0].numpy(), rtol=1e-6)


def test_losses_are_the_definition_also_of_scores_far_apart(head):
    scores, deltas = predictions()
    scores[1] = [150, -20, 0, 3]  # of a true class this far below the best, Paddle's cross_entropy says 64
    objects = np.float32([[3, 3, 29, 26], [21, 6, 55, 38]])
    classes, matches = [2, 1, 3], [1, 0, 0]
    samples = [
        SampledBoxes(paddle.to_tensor(PROPOSALS[0]), np.array(classes), np.array(matches)),
        SampledBoxes(paddle.to_tensor(PROPOSALS[1]), np.array([3, 3]), np.array([0, 0])),
    ]
    targets = [Targets(paddle.to_tensor(objects), None, None), Targets(paddle.zeros([0, 4]), None, None)]
    losses = head.losses(*as_tensors(scores, deltas), samples, targets)
    class_loss = box_loss = 0
    for row, k in enumerate([*classes, 3, 3]):
        class_loss += np.logaddexp.reduce(scores[row]) - scores[row, k]
    for row in (0, 1):
        wanted = slow_deltas(objects[matches[row]], PROPOSALS[0][row])
        box_loss += np.abs(deltas[row, classes[row]] - wanted).sum()
    assert float(losses["loss_cls"]) == pytest.approx(class_loss / 5, rel=1e-5)
    assert float(losses["loss_box_reg"]) == pytest.approx(box_loss / 5, rel=1e-5)


def slow_deltas(box, reference):
    width, height = reference[2] - reference[0], reference[3] - reference[1]
    dx = (box[0] + box[2] - reference[0] - reference[2]) / 2 / width
    dy = (box[1] + box[3] - reference[1] - reference[3]) / 2 / height
    dw, dh = np.log((box[2] - box[0]) / width), np.log((box[3] - box[1]) / height)
    return np.array([dx, dy, dw, dh]) * DELTA_WEIGHTS


def test_boxes_of_classes(head):
    _, deltas = predictions()
    classes = np.array([2, 0, 1, 1, 2])
    proposals = np.concatenate(PROPOSALS)
    found = head.boxes_of_classes(*as_tensors(deltas, proposals), classes)
    wanted = [slow.decode(deltas[i, k], proposals[i], DELTA_WEIGHTS) for i, k in enumerate(classes)]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4)


def test_layers_are_matrix_products_of_the_flattened_maps(head):
    pooled = np.random.default_rng(0).standard_normal((5, 4, 3, 3)).astype("float32")
    scores, deltas = head(paddle.to_tensor(pooled))
    x = pooled.reshape(5, -1)
    for layer in head.fcs:
        x = np.maximum(x @ layer.weight.numpy() + layer.bias.numpy(), 0)
    np.testing.assert_allclose(scores.numpy(), x @ head.cls_score.weight.numpy(), atol=1e-6)
    np.testing.assert_allclose(deltas.flatten(1).numpy(), x @ head.bbox_pred.weight.numpy(), atol=1e-6)
