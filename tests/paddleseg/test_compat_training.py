"""PaddleSeg's own models train, evaluate and predict on Paddle 3."""

import numpy as np
import paddle
import paddleseg
import pytest
from conftest import TINY_CLASSES
from paddle import nn
from paddleseg import models, transforms
from paddleseg.datasets import Dataset
from paddleseg.models import backbones, losses

from paddle_pointrend.paddleseg import compat
from paddle_pointrend.paddleseg.loss_computation import wrapped_loss_computation


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
def test_paddlesegs_models_train_evaluate_and_predict(make, tiny_dataset, tmp_path):
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
    with wrapped_loss_computation(model, compat._with_one_dimension):
        assert [loss.shape for loss in model.loss_computation(None, None, None)] == [[1], [1]]
    assert model.loss_computation is own
