"""PaddleSeg's losses that mix types: their numbers against NumPy, and that the casts hold inside only."""

import functools

import numpy as np
import paddle
import pytest
from paddleseg.models import losses
from paddleseg.models.sfnet import AlignedModule

from paddle_pointrend.paddleseg.mixed_types import cast_to_left, cast_to_wider, mixed_types

K, IGNORE = 3, 255


def _logits_and_label(seed=0, size=16):
    random_state = np.random.RandomState(seed)
    logits = random_state.randn(2, K, size, size).astype("float32")
    label = random_state.randint(0, K, (2, size, size))
    label[0, :3] = IGNORE
    return logits, label


def _pixel_losses(logits, label):
    """-log softmax at the label [N, H, W], 0 where it is ignored."""
    logits = logits.astype("float64")
    log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    at_label = np.take_along_axis(log_probability, np.where(label == IGNORE, 0, label)[:, None], 1)[:, 0]
    return np.where(label == IGNORE, 0, -at_label)


def _slow_cross_entropy(logits, label, weight, top_k, avg_non_ignore):
    """PaddleSeg's definition in NumPy; a weighted ignored pixel has the weight of class 0, and no loss."""
    mask = (label != IGNORE).astype("float64") if avg_non_ignore else np.ones(label.shape)
    coef = np.ones(label.shape)
    loss = _pixel_losses(logits, label)
    if weight is not None:
        coef = np.asarray(weight)[np.where(label == IGNORE, 0, label)]
        loss = loss * coef
    if top_k == 1.0:
        return loss.mean() / ((mask * coef).mean() + 1e-8)
    kept = np.argsort(-loss.ravel(), kind="stable")[: int(top_k * loss.size)]
    return loss.ravel()[kept].mean() / (coef.ravel()[kept].mean() + 1e-8)


@pytest.mark.parametrize("top_k", [1.0, 0.3])
@pytest.mark.parametrize(("weight", "avg_non_ignore"), [(None, True), (None, False), ([1.0, 2.0, 0.5], True)])
def test_cross_entropy_equals_paddlesegs_definition(weight, avg_non_ignore, top_k):
    logits, label = _logits_and_label()
    loss = losses.CrossEntropyLoss(weight, IGNORE, top_k, avg_non_ignore)
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    value = loss(tensor, paddle.to_tensor(label))
    expected = _slow_cross_entropy(logits, label, weight, top_k, avg_non_ignore)
    np.testing.assert_allclose(float(value), expected, rtol=1e-5)
    value.backward()
    assert np.abs(tensor.grad.numpy()[0, :, :3]).max() == 0  # the ignored rows
    assert np.abs(tensor.grad.numpy()).max() > 0


def test_cross_entropy_of_nothing_but_ignored_pixels_is_zero():
    logits, label = _logits_and_label()
    value = losses.CrossEntropyLoss()(paddle.to_tensor(logits), paddle.full(label.shape, IGNORE, "int64"))
    assert float(value) == 0


def test_cross_entropy_with_semantic_weights():
    logits, label = _logits_and_label()
    pixel_weights = np.random.RandomState(1).rand(*label.shape).astype("float32")
    value = losses.CrossEntropyLoss()(*map(paddle.to_tensor, (logits, label, pixel_weights)))
    expected = (_pixel_losses(logits, label) * pixel_weights).mean() / (label != IGNORE).mean()
    np.testing.assert_allclose(float(value), expected, rtol=1e-5)


def test_ohem_equals_paddlesegs_definition():
    logits, label = _logits_and_label()
    min_kept, thresh = 50, 0.3
    value = losses.OhemCrossEntropyLoss(thresh, min_kept)(paddle.to_tensor(logits), paddle.to_tensor(label))
    pixel_losses = _pixel_losses(logits, label)
    probability = np.where(label == IGNORE, np.inf, np.exp(-pixel_losses))
    threshold = max(thresh, np.sort(probability.ravel())[min_kept - 1])
    kept = probability < threshold
    assert min_kept < kept.sum() < (label != IGNORE).sum()
    np.testing.assert_allclose(float(value), pixel_losses[kept].sum() / (kept.sum() + 1e-5 * kept.size), rtol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.DiceLoss(),
        lambda: losses.DiceLoss(weight=[1.0, 2.0, 3.0]),
        lambda: losses.LovaszSoftmaxLoss(),
        lambda: losses.BootstrappedCrossEntropyLoss(min_K=50, loss_th=0.3),
        lambda: losses.OhemCrossEntropyLoss(min_kept=50),
        lambda: losses.RelaxBoundaryLoss(),
        lambda: losses.DualTaskLoss(),
        lambda: losses.RMILoss(num_classes=K),
        lambda: losses.MixedLoss([losses.CrossEntropyLoss(), losses.LovaszSoftmaxLoss()], [0.5, 0.5]),
        lambda: functools.partial(losses.DistillCrossEntropyLoss(), paddle.randn([2, K, 16, 16])),
    ],
)
def test_paddlesegs_losses_train(make):
    logits, label = _logits_and_label()
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    loss = make()
    if isinstance(loss, functools.partial):  # distillation takes student, teacher, label
        value = loss.func(tensor, *loss.args, paddle.to_tensor(label))
    else:
        value = loss(tensor, paddle.to_tensor(label))
    sum(value if isinstance(value, list) else [value]).backward()
    gradient = tensor.grad.numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_mixed_types_are_cast_only_inside():
    number = paddle.to_tensor([1.5, 2.5], stop_gradient=False)
    integer, boolean = paddle.to_tensor([2, 3]), paddle.to_tensor([True, False])
    operators = [paddle.Tensor.__mul__, paddle.Tensor.__sub__]
    with mixed_types(cast_to_wider):
        product = integer * number
        assert (integer * boolean).tolist() == (boolean * integer).tolist() == [2, 0]
        assert (number - boolean).tolist() == [0.5, 2.5]
        assert (number / integer).dtype == (integer / number).dtype == paddle.float32
    with mixed_types(cast_to_left), mixed_types(cast_to_wider):
        assert (integer * number).tolist() == [2, 6]
        assert (number * integer).tolist() == [3, 7.5]
        assert (number * 2).tolist() == [3, 5]
        with pytest.raises(TypeError):
            number * None
    product.sum().backward()
    assert number.grad.tolist() == [2, 3]
    assert operators == [paddle.Tensor.__mul__, paddle.Tensor.__sub__]
    with pytest.raises(TypeError, match="Type promotion"):
        number * integer


def test_the_operators_come_back_when_the_body_raises():
    before = paddle.Tensor.__add__
    with pytest.raises(KeyError), mixed_types(cast_to_left):
        raise KeyError
    assert paddle.Tensor.__add__ is before


def test_flow_warp_without_flow_resizes():
    features = paddle.arange(4, dtype="float32").reshape([1, 1, 2, 2])
    warped = AlignedModule.flow_warp(
        None, features, paddle.zeros([1, 2, 2, 2]), paddle.to_tensor([2, 2], dtype="int32")
    )
    # PaddleSeg's grid runs from -1 to 1 for grid_sample's default align_corners=True: corners map to corners.
    np.testing.assert_allclose(warped.numpy(), features.numpy(), atol=1e-6)
