import numpy as np
import paddle
import pytest
import slow_references as slow
from paddleseg.core.train import loss_computation
from paddleseg.cvlibs import manager

from paddle_pointrend import PointSampledCrossEntropyLoss

RNG = np.random.default_rng(11)
IMAGES, POINTS, HEIGHT, WIDTH = 2, 40, 9, 13


def random_case(num_classes, *, ignored=0.2, ignore_index=255, dtype="int64"):
    """Arrays: point logits, coords away from the borders between pixels, labels, the label at each point."""
    logits = (3 * RNG.standard_normal((IMAGES, num_classes, POINTS))).astype("float32")
    columns, rows = RNG.integers(0, WIDTH, (IMAGES, POINTS)), RNG.integers(0, HEIGHT, (IMAGES, POINTS))
    offsets = RNG.uniform(0.01, 0.99, (IMAGES, POINTS, 2))
    coords = ((np.stack([columns, rows], axis=2) + offsets) / [WIDTH, HEIGHT]).astype("float32")
    label = RNG.integers(0, num_classes, (IMAGES, HEIGHT, WIDTH))
    label[RNG.random(label.shape) < ignored] = ignore_index
    label = label.astype(dtype)
    return logits, coords, label, label[np.arange(IMAGES)[:, None], rows, columns].astype("int64")


def run_loss(loss, logits, coords, label):
    logits = paddle.to_tensor(logits, stop_gradient=False)
    value = loss((logits, paddle.to_tensor(coords)), paddle.to_tensor(label))
    value.backward()
    return value, logits.grad.numpy()


def as_rows(logits):
    return logits.transpose(0, 2, 1).reshape(-1, logits.shape[1])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("num_classes", [2, 3, 19, 150])
def test_equals_the_weighted_mean(num_classes, weighted, dtype):
    logits, coords, label, targets = random_case(num_classes, dtype=dtype)
    weight = RNG.uniform(0.1, 4, num_classes).tolist() if weighted else None
    value, _ = run_loss(PointSampledCrossEntropyLoss(weight=weight), logits, coords, label)
    expected = slow.cross_entropy(as_rows(logits), targets.ravel(), weight)
    assert value.shape == []
    assert value.dtype == paddle.float32
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_mean_over_ignored_points_too():
    logits, coords, label, targets = random_case(5)
    value, gradient = run_loss(PointSampledCrossEntropyLoss(avg_non_ignore=False), logits, coords, label)
    per_valid, per_valid_gradient = run_loss(PointSampledCrossEntropyLoss(), logits, coords, label)
    share = (targets != 255).mean()
    assert 0.5 < share < 0.95
    assert float(value) == pytest.approx(float(per_valid) * share, rel=1e-5)
    np.testing.assert_allclose(gradient, per_valid_gradient * share, rtol=1e-4, atol=1e-8)
    with pytest.raises(ValueError, match="leave one of them out"):
        PointSampledCrossEntropyLoss(weight=[1.0] * 5, avg_non_ignore=False)


def test_gradient_is_the_weighted_difference_to_the_truth():
    logits, coords, label, targets = random_case(5)
    weight = np.array([0.5, 1, 2, 3, 0])
    _, gradient = run_loss(PointSampledCrossEntropyLoss(weight=weight.tolist()), logits, coords, label)
    rows, targets = as_rows(logits).astype("float64"), targets.ravel()
    probabilities = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
    share = np.where(targets == 255, 0, weight[np.where(targets == 255, 0, targets)])
    truth = np.eye(256)[targets][:, :5]
    expected = (probabilities - truth) * (share / share.sum())[:, None]
    np.testing.assert_allclose(as_rows(gradient), expected, atol=1e-6)


def test_labels_with_a_channel_axis_are_the_same():
    logits, coords, label, _ = random_case(4)
    loss = PointSampledCrossEntropyLoss()
    flat, _ = run_loss(loss, logits, coords, label)
    with_channel, _ = run_loss(loss, logits, coords, label[:, None])
    assert float(flat) == float(with_channel)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
def test_all_points_ignored_is_0_with_zero_gradient(weight):
    logits, coords, label, _ = random_case(3)
    value, gradient = run_loss(PointSampledCrossEntropyLoss(weight=weight), logits, coords, np.full_like(label, 255))
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_only_classes_of_weight_0_is_0_with_zero_gradient():
    logits, coords, label, _ = random_case(3)
    value, gradient = run_loss(PointSampledCrossEntropyLoss(weight=[0, 1, 1]), logits, coords, np.zeros_like(label))
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(("ignore_index", "dtype"), [(0, "int64"), (-100, "int64"), (254, "uint8")])
def test_other_ignore_index(ignore_index, dtype):
    logits, coords, label, targets = random_case(4, ignore_index=ignore_index, dtype=dtype)
    value, _ = run_loss(PointSampledCrossEntropyLoss(ignore_index=ignore_index), logits, coords, label)
    expected = slow.cross_entropy(as_rows(logits), targets.ravel(), ignore_index=ignore_index)
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("values", "named"), [([7], r"\[7\]"), ([4, -1], r"\[-1, 4\]"), ([200, 5], r"\[5, 200\]")])
def test_labels_out_of_range_are_named(values, named):
    logits, coords, label, _ = random_case(4)
    label[0, 0, : len(values)] = values
    with pytest.raises(ValueError, match=rf"\[0, 4\) or be ignore_index = 255, got {named}"):
        run_loss(PointSampledCrossEntropyLoss(), logits, coords, label)


def test_uint8_labels_are_not_compared_modulo_256():
    loss = PointSampledCrossEntropyLoss(ignore_index=-100)  # -100 is 156 in uint8
    logits, coords, label, _ = random_case(4, ignored=0, dtype="uint8")
    label[0, 0, 0] = 156
    with pytest.raises(ValueError, match=r"got \[156\]"):
        run_loss(loss, logits, coords, label)
    logits, coords, label, targets = random_case(300, ignored=0)  # 300 is 44 in uint8
    label, targets = label % 256, targets % 256
    value, _ = run_loss(loss, logits, coords, label.astype("uint8"))
    assert float(value) == pytest.approx(slow.cross_entropy(as_rows(logits), targets.ravel(), None, -100), rel=1e-5)


def test_in_the_hosts_trainer():
    logits, coords, label, targets = random_case(3)
    pair = (paddle.to_tensor(logits), paddle.to_tensor(coords))
    losses = {"types": [PointSampledCrossEntropyLoss()], "coef": [0.5]}
    computed = loss_computation(logits_list=[pair], labels=paddle.to_tensor(label), edges=None, losses=losses)
    assert len(computed) == 1
    expected = 0.5 * slow.cross_entropy(as_rows(logits), targets.ravel())
    assert computed[0].item() == pytest.approx(expected, rel=1e-5)


def test_is_registered_with_the_host():
    assert manager.LOSSES["PointSampledCrossEntropyLoss"] is PointSampledCrossEntropyLoss


@pytest.mark.parametrize("weight", [[1, -1], [[1, 2]], 3])
def test_wrong_weights(weight):
    with pytest.raises(ValueError, match="numbers >= 0"):
        PointSampledCrossEntropyLoss(weight=weight)


def test_one_weight_for_each_class():
    logits, coords, label, _ = random_case(3)
    with pytest.raises(ValueError, match="weight has 2 numbers, but the logits have 3 classes"):
        run_loss(PointSampledCrossEntropyLoss(weight=[1, 2]), logits, coords, label)


def test_wrong_logits():
    loss, label = PointSampledCrossEntropyLoss(), paddle.zeros([2, 4, 4], "int64")
    with pytest.raises(ValueError, match=r"takes the pair .* got Tensor"):
        loss(paddle.zeros([2, 3, 4, 4]), label)
    with pytest.raises(ValueError, match=r"got \[2, 3, 5\] and \[2, 6, 2\]"):
        loss((paddle.zeros([2, 3, 5]), paddle.zeros([2, 6, 2])), label)


def test_wrong_labels():
    loss, pair = PointSampledCrossEntropyLoss(), (paddle.zeros([2, 3, 5]), paddle.zeros([2, 5, 2]))
    with pytest.raises(ValueError, match=r"got shape \[2, 3, 4, 4\]"):
        loss(pair, paddle.zeros([2, 3, 4, 4], "int64"))
    with pytest.raises(ValueError, match="same number of images, got 1 and 2"):
        loss(pair, paddle.zeros([1, 4, 4], "int64"))
    with pytest.raises(TypeError, match=r"integers, got .*float32"):
        loss(pair, paddle.zeros([2, 4, 4]))


@pytest.mark.torch
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_torch(weighted):
    torch = pytest.importorskip("torch")
    logits, coords, label, targets = random_case(19)
    weight = RNG.uniform(0.1, 4, 19).astype("float32") if weighted else None
    value, gradient = run_loss(PointSampledCrossEntropyLoss(weight=weight), logits, coords, label)
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        theirs, torch.tensor(targets), None if weight is None else torch.tensor(weight), ignore_index=255
    )
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), atol=1e-7)
