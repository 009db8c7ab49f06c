"""PaddleSeg's losses beside each other, on ignored labels, and the mIoU of a training's evaluations."""

import itertools

import numpy as np
import paddle
import pytest
from command_line import error_line, run
from paddleseg.cvlibs import manager
from paddleseg.models.losses import MixedLoss
from paddleseg.utils import metrics

from paddle_pointrend.evaluation import SegmentationMetrics

# Losses that take logits [N, K, H, W] and labels, with the arguments that they need; and the classes they take.
LOSSES = {
    "BCELoss": ({}, 3),
    "BootstrappedCrossEntropyLoss": ({"min_K": 10, "loss_th": 0.3}, 3),
    "CrossEntropyLoss": ({}, 3),
    "DiceLoss": ({}, 3),
    "DualTaskLoss": ({}, 3),
    "FocalLoss": ({}, 2),
    "LovaszHingeLoss": ({}, 3),
    "LovaszSoftmaxLoss": ({}, 3),
    "MultiClassFocalLoss": ({"num_class": 3}, 3),
    "OhemCrossEntropyLoss": ({"min_kept": 1}, 3),
    "RMILoss": ({"num_classes": 3}, 3),
    "RelaxBoundaryLoss": ({}, 3),
}
# SemanticConnectivityLoss has a value, but no gradient reaches its logits: docs/paddle3.md.
PAIRS = [
    pair
    for pair in itertools.permutations([name for name, (_, num_classes) in LOSSES.items() if num_classes == 3], 2)
    if "DiceLoss" in pair or not {"DualTaskLoss", "RelaxBoundaryLoss"} & set(pair)  # slow ones
]


def build(name):
    return manager.LOSSES[name](**LOSSES[name][0])


def sample(num_classes=3, *, ignored=False):
    random = np.random.RandomState(0)
    logits = paddle.to_tensor(random.standard_normal((2, num_classes, 16, 16)).astype("float32"), stop_gradient=False)
    label = random.randint(0, num_classes, (2, 16, 16))
    label[:, : 16 if ignored else 3] = 255
    return logits, paddle.to_tensor(label)


def value_and_gradient(loss, *, ignored=False, num_classes=3):
    logits, label = sample(num_classes, ignored=ignored)
    paddle.seed(0)  # some draw
    values = loss(logits, label)
    values = values if isinstance(values, list) else [values]
    sum(value.sum() for value in values).backward()
    return [float(value) for value in values], logits.grad.numpy(), label.numpy()


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_value_and_leaves_its_labels_alone(name, ignored):
    num_classes = LOSSES[name][1]
    values, gradient, label = value_and_gradient(build(name), ignored=ignored, num_classes=num_classes)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(label, sample(num_classes, ignored=ignored)[1].numpy())
    if ignored and name != "RMILoss":  # whose lower bound is a constant
        assert values == [0]
        assert not gradient.any()


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_every_pair_in_mixed_loss_is_the_sum_of_both(names):
    alone = [value_and_gradient(build(name)) for name in names]
    values, gradient, _ = value_and_gradient(MixedLoss([build(name) for name in names], [1.0, 1.0]))
    np.testing.assert_allclose(values, [value[0] for value, _, _ in alone], rtol=1e-4)
    if "DualTaskLoss" not in names:
        np.testing.assert_allclose(gradient, sum(part for _, part, _ in alone), rtol=1e-3, atol=1e-5)


def test_mean_iou_of_a_trainings_evaluation_is_vals():
    random = np.random.RandomState(0)
    pred, label = random.randint(0, 3, (20, 30)), random.randint(0, 2, (20, 30))  # of 5 classes 3 and 4 occur nowhere
    areas = metrics.calculate_area(*(paddle.to_tensor(x[None]) for x in (pred, label)), 5)
    ours = SegmentationMetrics(5)
    ours.update(pred, label)
    class_iou, mean = metrics.mean_iou(*areas)
    assert mean == pytest.approx(ours.summary()["miou"])
    np.testing.assert_allclose(class_iou[:3], ours.summary()["class_iou"][:3])
    assert class_iou.shape == (5,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("PointSampledCrossEntropyLoss", "CrossEntropyLoss"),
            "the last one is CrossEntropyLoss, expected PointSampledCrossEntropyLoss",
        ),
        (
            ("type: CrossEntropyLoss", "type: CrossEntropyLoss\n      weight: [1.0, 2.0]"),
            "the weight of CrossEntropyLoss has 2 numbers, expected one for each of the 4 classes",
        ),
        (
            (
                "type: CrossEntropyLoss",
                "type: MixedLoss\n      losses: [{type: DiceLoss, weight: [1.0, 2.0, 3.0]}]\n      coef: [1]",
            ),
            "the weight of DiceLoss has 3 numbers",
        ),
    ],
)
def test_losses_that_would_fail_are_refused_before_the_training(pointrend_config, tmp_path, capsys, change, message):
    pointrend_config.write_text(pointrend_config.read_text().replace(*change))
    assert run("train", "--config", pointrend_config, "--save_dir", tmp_path / "out") == 2
    assert message in error_line(capsys)


def test_dice_before_and_after_cross_entropy_train_alike(pointrend_config, tmp_path):
    weights = []
    for i, inner in enumerate(("CrossEntropyLoss, DiceLoss", "DiceLoss, CrossEntropyLoss")):
        types = ", ".join(f"{{type: {name}}}" for name in inner.split(", "))
        config = tmp_path / f"{i}.yml"
        mixed = f"type: MixedLoss\n      losses: [{types}]\n      coef: [1, 1]"
        config.write_text(pointrend_config.read_text().replace("type: CrossEntropyLoss", mixed, 1))
        arguments = ["--config", config, "--save_dir", tmp_path / str(i), "--seed", 1]
        assert run("train", *arguments) == 0
        weights.append(paddle.load(str(tmp_path / str(i) / "iter_2/model.pdparams"), return_numpy=True))
    for name in weights[0]:
        np.testing.assert_allclose(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-5)
