"""Each mend: the failure without it, its numbers against NumPy, and that a working host is left alone."""

import functools
import importlib
import json
import subprocess
import sys

import numpy as np
import paddle
import paddleseg
import pytest
from conftest import TINY_CLASSES
from paddle import nn
from paddleseg import models, transforms
from paddleseg.datasets import Dataset
from paddleseg.models import backbones, losses
from paddleseg.models.sfnet import AlignedModule
from paddleseg.utils import metrics, train_profiler

from paddle_pointrend.paddleseg import compat, profiler

TRAINER = importlib.import_module("paddleseg.core.train")
K, IGNORE = 3, 255
OTHERS = ("AlignedModule", "calculate_area", "train", "add_profiler_step")
MENDED = {*(name for name, *_ in compat._MIXING_LOSSES), *OTHERS}

# What a program sees that knows nothing of paddle_pointrend.
UNMENDED = """
import importlib, json, tempfile
import paddle, paddleseg
from paddleseg.models import losses
from paddleseg.models.sfnet import AlignedModule
from paddleseg.utils import metrics, train_profiler

class Data(paddle.io.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, i):
        return {"img": paddle.ones([3, 8, 8]), "label": paddle.zeros([8, 8], "int64")}

class Model(paddle.nn.Conv2D):
    def forward(self, x):
        return [super().forward(x)]

class OwnLoss(Model):
    def loss_computation(self, logits_list, losses, data):
        return [logits_list[0].mean()]

def train(cls):
    model = cls(3, 2, 1)
    optimizer = paddle.optimizer.SGD(0.1, parameters=model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        losses = {"types": [lambda logits, label: logits.mean()], "coef": [1]}
        paddleseg.core.train(model, Data(), optimizer=optimizer, save_dir=folder, iters=1, batch_size=1,
                             log_iters=1, losses=losses)

logits = paddle.rand([1, 2, 16, 16])
label = paddle.randint(0, 2, [1, 16, 16])
edges = paddle.ones([1, 1, 16, 16])
size = paddle.to_tensor([16, 16], dtype="int32")
points = [logits.flatten(2), paddle.rand([1, 256, 2])]
calls = {
    "CrossEntropyLoss": lambda: losses.CrossEntropyLoss()(logits, label),
    "CrossEntropyLoss, weights": lambda: losses.CrossEntropyLoss(weight=[1., 2.])(logits, label),
    "OhemCrossEntropyLoss": lambda: losses.OhemCrossEntropyLoss(min_kept=9)(logits, label),
    "OhemEdgeAttentionLoss": lambda: losses.OhemEdgeAttentionLoss(min_kept=9)((logits, edges), label),
    "RelaxBoundaryLoss": lambda: losses.RelaxBoundaryLoss()(logits, label),
    "DualTaskLoss": lambda: losses.DualTaskLoss()(logits, label),
    "RMILoss": lambda: losses.RMILoss(num_classes=2)(logits, label),
    "PointCrossEntropyLoss": lambda: losses.PointCrossEntropyLoss()(points, label),
    "AlignedModule": lambda: AlignedModule.flow_warp(None, logits, logits, size),
    "calculate_area": lambda: metrics.calculate_area(label, label, 2),
    "train": lambda: train(Model),
    "train, model's loss_computation": lambda: train(OwnLoss),
    "add_profiler_step": lambda: train_profiler.add_profiler_step("batch_range=[0,1]"),
}
found = {}
for name, call in calls.items():
    try:
        call()
    except Exception as failure:
        found[name] = type(failure).__name__ + ": " + str(failure)
print("RESULT" + json.dumps(found))
"""

needs_2_8_0 = pytest.mark.skipif(
    not compat._indexes_losses(getattr(TRAINER.train, "__wrapped__", TRAINER.train)),
    reason="shows what PaddleSeg 2.8.0 lacks; another version is installed",
)


@pytest.fixture(scope="module")
def unmended():
    run = subprocess.run([sys.executable, "-c", UNMENDED], capture_output=True, text=True, timeout=120)
    assert "RESULT" in run.stdout, run.stderr
    return json.loads(run.stdout.split("RESULT")[1])


@needs_2_8_0
@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("CrossEntropyLoss", "TypeError: (InvalidType) Type promotion only support"),
        ("CrossEntropyLoss, weights", "TypeError: (InvalidType) Type promotion only support"),
        ("OhemCrossEntropyLoss", "TypeError: (InvalidType) Type promotion only support"),
        ("OhemEdgeAttentionLoss", "TypeError: (InvalidType) Type promotion only support"),
        ("RelaxBoundaryLoss", "TypeError: (InvalidType) Type promotion only support"),
        ("DualTaskLoss", "TypeError: (InvalidType) Type promotion only support"),
        ("RMILoss", "TypeError: (InvalidType) Type promotion only support"),
        ("PointCrossEntropyLoss", "TypeError: (InvalidType) Type promotion only support"),
        ("AlignedModule", "TypeError: (InvalidType) Type promotion only support"),
        ("calculate_area", "ValueError: (InvalidArgument) The axis is expected to be in range of [0, 0)"),
        ("train", "IndexError: too many indices for array"),
        ("train, model's loss_computation", "IndexError: too many indices for array"),
        ("add_profiler_step", "AttributeError: module 'paddle.utils' has no attribute 'profiler'"),
    ],
)
def test_failure_without_the_mend(unmended, name, failure):
    assert unmended[name].strip().startswith(failure)


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


def _host_cross_entropy(logits, label, weight, top_k, avg_non_ignore):
    """The host's definition in NumPy; a weighted ignored pixel has the weight of class 0, and no loss."""
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
def test_cross_entropy_equals_the_hosts_definition(weight, avg_non_ignore, top_k):
    logits, label = _logits_and_label()
    loss = losses.CrossEntropyLoss(weight, IGNORE, top_k, avg_non_ignore)
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    value = loss(tensor, paddle.to_tensor(label))
    expected = _host_cross_entropy(logits, label, weight, top_k, avg_non_ignore)
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


def test_ohem_equals_the_hosts_definition():
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
def test_losses_of_the_host_train(make):
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
    with compat.mixed_types(compat.wider_wins):
        product = integer * number
        assert (integer * boolean).tolist() == (boolean * integer).tolist() == [2, 0]
        assert (number - boolean).tolist() == [0.5, 2.5]
        assert (number / integer).dtype == (integer / number).dtype == paddle.float32
    with compat.mixed_types(compat.left_wins), compat.mixed_types(compat.wider_wins):
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
    with pytest.raises(KeyError), compat.mixed_types(compat.left_wins):
        raise KeyError
    assert paddle.Tensor.__add__ is before


def test_flow_warp_without_flow_resizes():
    features = paddle.arange(4, dtype="float32").reshape([1, 1, 2, 2])
    warped = AlignedModule.flow_warp(
        None, features, paddle.zeros([1, 2, 2, 2]), paddle.to_tensor([2, 2], dtype="int32")
    )
    # The host's grid runs from -1 to 1 for grid_sample's default align_corners=True: corners map to corners.
    np.testing.assert_allclose(warped.numpy(), features.numpy(), atol=1e-6)


def _slow_areas(pred, label, num_classes, ignore_index):
    areas = np.zeros((3, num_classes), np.int64)
    for predicted, true in zip(pred.ravel(), label.ravel()):
        for k in range(num_classes):
            counts = predicted == k and true != ignore_index
            areas[:, k] += [counts and true == k, counts, true == k]
    return areas


@pytest.mark.parametrize("ignore_index", [255, 1])
@pytest.mark.parametrize("num_classes", [1, 4])
@pytest.mark.parametrize(("pred_shape", "label_shape"), [((2, 1, 5, 7), (2, 5, 7)), ((2, 5, 7), (2, 1, 5, 7))])
def test_calculate_area_equals_a_slow_loop(num_classes, ignore_index, pred_shape, label_shape):
    random_state = np.random.RandomState(0)
    pred = random_state.randint(-1, 6, pred_shape).astype("int32")
    label = random_state.choice([-1, 0, 1, 2, 3, 4, 9, 255], label_shape)
    areas = metrics.calculate_area(paddle.to_tensor(pred), paddle.to_tensor(label), num_classes, ignore_index)
    assert all(area.dtype == paddle.int64 and area.shape == [num_classes] for area in areas)
    expected = _slow_areas(pred.reshape(-1), label.reshape(-1), num_classes, ignore_index)
    np.testing.assert_array_equal(np.stack([area.numpy() for area in areas]), expected)


def test_calculate_area_rejects_different_shapes():
    with pytest.raises(ValueError, match="hape"):
        metrics.calculate_area(paddle.zeros([1, 2, 2], "int64"), paddle.zeros([1, 2, 3], "int64"), 2)


def test_evaluation_finds_the_mended_function():
    assert importlib.import_module("paddleseg.core.val").metrics.calculate_area is metrics.calculate_area


def _mended_places():
    methods = [getattr(getattr(losses, name), method) for name, method, *_ in compat._MIXING_LOSSES]
    trainer = [TRAINER.train, TRAINER.loss_computation, paddleseg.core.train]
    return [*methods, *trainer, AlignedModule.flow_warp, metrics.calculate_area, train_profiler.add_profiler_step]


def test_a_second_call_changes_nothing():
    before = _mended_places()
    assert compat.apply() == []
    assert all(new is old for new, old in zip(_mended_places(), before))


def test_nothing_is_done_in_static_mode():
    paddle.enable_static()
    try:
        assert compat.apply() == []
    finally:
        paddle.disable_static()


def _unmend(monkeypatch):
    for name, method, *_ in compat._MIXING_LOSSES:
        cls = getattr(losses, name)
        monkeypatch.setattr(cls, method, getattr(cls, method).__wrapped__)
    monkeypatch.setattr(AlignedModule, "flow_warp", AlignedModule.flow_warp.__wrapped__)
    monkeypatch.setattr(metrics, "calculate_area", metrics.calculate_area.__wrapped__)
    monkeypatch.setattr(train_profiler, "add_profiler_step", train_profiler.add_profiler_step.__wrapped__)
    monkeypatch.setattr(TRAINER, "loss_computation", TRAINER.loss_computation.__wrapped__)
    for owner in (TRAINER, paddleseg.core):
        monkeypatch.setattr(owner, "train", owner.train.__wrapped__)


@needs_2_8_0
def test_apply_mends_everything_and_leaves_no_traces(monkeypatch, capfd):
    _unmend(monkeypatch)
    paddle.seed(7)
    expected = paddle.rand([3]).tolist()
    paddle.seed(7)
    device, operator = paddle.get_device(), paddle.Tensor.__mul__
    assert set(compat.apply()) == MENDED
    assert paddle.rand([3]).tolist() == expected
    assert paddle.get_device() == device
    assert paddle.Tensor.__mul__ is operator
    assert paddle.is_grad_enabled()
    assert capfd.readouterr() == ("", "")


@needs_2_8_0
def test_a_host_that_works_is_left_alone(monkeypatch):
    _unmend(monkeypatch)

    def working_loss(self, logit, label, semantic_weights, loss):
        return loss.mean()

    def working_flow_warp(self, features, flow, size):
        return features

    def working_area(pred, label, num_classes, ignore_index=255):
        return pred, pred, pred

    def working_step(options_str=None):
        raise AssertionError("it should not be called: it would start a profiler")

    def working_train(model, log_iters=1):
        return [float(loss) / log_iters for loss in [model]]

    loss_computation = TRAINER.loss_computation
    monkeypatch.setattr(losses.CrossEntropyLoss, "_post_process_loss", working_loss)
    monkeypatch.setattr(AlignedModule, "flow_warp", working_flow_warp)
    monkeypatch.setattr(metrics, "calculate_area", working_area)
    monkeypatch.setattr(train_profiler, "add_profiler_step", working_step)
    for owner in (TRAINER, paddleseg.core):
        monkeypatch.setattr(owner, "train", working_train)
    left_alone = {"CrossEntropyLoss", *OTHERS}
    assert set(compat.apply()) == MENDED - left_alone  # each mend by itself
    assert losses.CrossEntropyLoss._post_process_loss is working_loss
    assert AlignedModule.flow_warp is working_flow_warp
    assert metrics.calculate_area is working_area
    assert TRAINER.train is paddleseg.core.train is working_train
    assert TRAINER.loss_computation is loss_computation
    assert train_profiler.add_profiler_step is working_step


@needs_2_8_0
def test_a_paddle_with_the_old_profiler_is_left_alone(monkeypatch):
    _unmend(monkeypatch)
    monkeypatch.setattr(paddle.utils, "profiler", object(), raising=False)
    assert compat.mend_profiler() == []


@needs_2_8_0
def test_the_trainer_finds_the_mended_profiler():
    assert TRAINER.train_profiler.add_profiler_step is profiler.add_profiler_step


def test_another_failure_is_not_ours_to_mend(monkeypatch):
    def failing(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(losses.OhemCrossEntropyLoss, "forward", failing)
    monkeypatch.setattr(metrics, "calculate_area", failing)
    assert compat.apply() == []
    assert losses.OhemCrossEntropyLoss.forward is failing


def test_a_trainer_without_source_is_mended_once():
    namespace = {}
    exec("def train(model): pass", namespace)
    assert compat._indexes_losses(namespace["train"])
    namespace["train"].__wrapped__ = None
    assert not compat._indexes_losses(namespace["train"])


def _dataset(root, mode):
    return Dataset(
        transforms=[transforms.Normalize()],
        dataset_root=str(root),
        num_classes=TINY_CLASSES,
        mode=mode,
        **{f"{mode}_path": str(root / f"{mode}.txt")},
    )


def _train(model, root, save_dir, types, **options):
    optimizer = paddle.optimizer.SGD(0.001, parameters=model.parameters())
    paddleseg.core.train(
        model,
        _dataset(root, "train"),
        optimizer=optimizer,
        save_dir=str(save_dir),
        iters=2,
        batch_size=2,
        log_iters=1,
        losses={"types": types, "coef": [1] * len(types)},
        **options,
    )


def _deeplab():
    backbone = backbones.ResNet18_vd(output_stride=8)
    model = models.DeepLabV3P(TINY_CLASSES, backbone, aspp_ratios=(1, 2, 3, 4))
    return model, [losses.CrossEntropyLoss()]


def _pspnet():
    backbone = backbones.ResNet18_vd(output_stride=8)
    model = models.PSPNet(TINY_CLASSES, backbone, pp_out_channels=16, bin_sizes=(1, 2))
    return model, [losses.CrossEntropyLoss(weight=[1.0, 2.0, 3.0, 4.0]) for _ in range(2)]


@pytest.mark.parametrize("make", [_deeplab, _pspnet])
def test_models_of_the_host_train_evaluate_and_predict(make, tiny_dataset, tmp_path):
    model, types = make()
    _train(model, tiny_dataset, tmp_path / "run", types, val_dataset=_dataset(tiny_dataset, "val"), use_vdl=True)
    checkpoint = tmp_path / "run" / "iter_2" / "model.pdparams"
    assert checkpoint.exists()

    miou, accuracy, class_iou, _, _ = paddleseg.core.evaluate(model, _dataset(tiny_dataset, "val"))
    assert 0 <= miou <= 1
    assert 0 <= accuracy <= 1
    assert len(class_iou) == TINY_CLASSES

    fresh, _ = make()
    paddleseg.core.predict(
        fresh,
        str(checkpoint),
        transforms.Compose([transforms.Normalize()]),
        [str(tiny_dataset / "images" / "val0.png")],
        save_dir=str(tmp_path / "prediction"),
    )
    assert len(list((tmp_path / "prediction").rglob("*.png"))) == 2


class _OwnLoss(nn.Layer):
    """A model with a `loss_computation` of its own, whose losses are 0-D."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, TINY_CLASSES, 1)

    def forward(self, x):
        return [self.conv(x)]

    def loss_computation(self, logits_list, losses, data):
        loss = losses["types"][0](logits_list[0], data["label"].astype("int64"))
        assert loss.ndim == 0
        return [loss]


def test_a_model_with_its_own_losses_trains_and_keeps_its_method(tiny_dataset, tmp_path):
    model = _OwnLoss()
    before = model.conv.weight.numpy().copy()
    _train(model, tiny_dataset, tmp_path, [losses.CrossEntropyLoss()])
    assert np.abs(model.conv.weight.numpy() - before).max() > 0
    assert "loss_computation" not in vars(model)


def test_a_loss_computation_of_the_instance_comes_back():
    model = _OwnLoss()

    def own(logits_list, losses, data):
        return [paddle.zeros([]), paddle.ones([1])]

    model.loss_computation = own
    with compat._one_dimensional_losses(model):
        assert [loss.shape for loss in model.loss_computation(None, None, None)] == [[1], [1]]
    assert model.loss_computation is own
