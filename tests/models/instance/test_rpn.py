import numpy as np
import paddle
import pytest
import slow_instance_references as slow
import tiny_mask_rcnn as tiny

from paddle_pointrend.models.instance.rpn import RPN, AnchorPredictions
from paddle_pointrend.models.instance.structures import usable_targets

SIZES, UNIT = [(40, 60), (36, 50)], (1, 1, 1, 1)


@pytest.fixture
def rpn():
    paddle.seed(0)
    return RPN(4, [8, 16], anchor_sizes=(12, 24), pre_nms_top_n=(60, 30), post_nms_top_n=(25, 20), num_samples=16)


@pytest.fixture
def predictions(rpn):
    random = np.random.default_rng(0)
    levels = [paddle.to_tensor(random.standard_normal((2, 4, *size), dtype="float32")) for size in ((5, 8), (3, 4))]
    made = rpn(levels)
    return AnchorPredictions(made.logits, [50 * deltas for deltas in made.deltas], made.anchors)


def test_every_cell_and_ratio_has_an_anchor_in_this_order(rpn):
    rpn.objectness_logits.bias.set_value(np.float32([10, 20, 30]))
    rpn.anchor_deltas.bias.set_value(np.arange(12, dtype="float32") * 100)
    rpn.anchor_deltas.weight.set_value(paddle.zeros_like(rpn.anchor_deltas.weight))
    made = rpn([paddle.rand([2, 4, 5, 8]), paddle.rand([2, 4, 3, 4])])
    assert [logits.shape for logits in made.logits] == [[2, 120], [2, 36]]
    assert [a.shape for a in made.anchors] == [[120, 4], [36, 4]]
    np.testing.assert_allclose(made.logits[0][0, :6].numpy(), [10, 20, 30] * 2, atol=1)
    np.testing.assert_array_equal(made.deltas[1][1, 4].numpy(), [400, 500, 600, 700])  # the second ratio's


@pytest.mark.parametrize("training", [True, False])
def test_proposals_are_the_definition(rpn, predictions, training):
    rpn.train() if training else rpn.eval()
    pre_nms, post_nms = (60, 25) if training else (30, 20)
    found, scores = rpn.propose(predictions, SIZES)
    for image, (height, width) in enumerate(SIZES):
        boxes, logits, levels = [], [], []
        for level in range(2):
            of_level = predictions.logits[level][image].numpy()
            for place in np.argsort(-of_level)[:pre_nms]:
                delta, anchor = (
                    x[place].numpy() for x in (predictions.deltas[level][image], predictions.anchors[level])
                )
                box = np.clip(slow.decode(delta, anchor, UNIT), 0, [width, height] * 2)
                if box[2] > box[0] and box[3] > box[1]:
                    boxes.append(box)
                    logits.append(of_level[place])
                    levels.append(level)
        kept = slow.nms(boxes, logits, levels, rpn.nms_threshold)[:post_nms]
        np.testing.assert_allclose(found[image].numpy(), [boxes[i] for i in kept], atol=1e-3)
        np.testing.assert_array_equal(scores[image].numpy(), [logits[i] for i in kept])
    assert len(found[0]) == post_nms


def test_losses_are_the_definition(rpn, predictions, monkeypatch):
    targets = [tiny.rectangles([[5, 5, 17, 20], [20, 8, 50, 36]], [0, 1], SIZES[0]), tiny.rectangles([], [], SIZES[1])]
    targets = [usable_targets(target, size) for target, size in zip(targets, SIZES)]
    monkeypatch.setattr(paddle, "randperm", lambda n: paddle.arange(n).flip(0))
    losses = rpn.losses(predictions, targets)
    anchors = np.concatenate([a.numpy() for a in predictions.anchors])
    class_loss = box_loss = positives = 0
    for image, target in enumerate(targets):
        logits = np.concatenate([x[image].numpy() for x in predictions.logits])
        deltas = np.concatenate([x[image].numpy() for x in predictions.deltas])
        ious = np.array([[slow.iou(box, a) for a in anchors] for box in target.boxes.numpy()]).reshape(-1, len(anchors))
        matched = slow.match(ious, 0.3, 0.7, True) if len(ious) else [(0, 0)] * len(anchors)
        shown = [i for i, (_, label) in enumerate(matched) if label == 1][::-1][:8]
        background = [i for i, (_, label) in enumerate(matched) if label == 0][::-1][: 16 - len(shown)]
        positives += len(shown)
        for i in shown:
            class_loss += slow.binary_cross_entropy(logits[i], 1)
            box, (x1, y1, x2, y2) = target.boxes[matched[i][0]].numpy(), anchors[i]
            wanted = [
                (box[0] + box[2] - x1 - x2) / 2 / (x2 - x1),
                (box[1] + box[3] - y1 - y2) / 2 / (y2 - y1),
                np.log((box[2] - box[0]) / (x2 - x1)),
                np.log((box[3] - box[1]) / (y2 - y1)),
            ]
            box_loss += np.abs(deltas[i] - wanted).sum()
        class_loss += slow.binary_cross_entropy(logits[background], 0).sum()
    assert positives >= 2
    assert float(losses["loss_rpn_cls"]) == pytest.approx(class_loss / 32, rel=1e-5)
    assert float(losses["loss_rpn_loc"]) == pytest.approx(box_loss / 32, rel=1e-5)
