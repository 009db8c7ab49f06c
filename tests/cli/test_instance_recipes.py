"""The configs of instances: their networks are built, and those of the reference have its recipe."""

import pathlib

import paddle
import pytest

from paddle_pointrend.models.instance import PointRendMaskHead
from paddle_pointrend.paddleseg.configs import build, drop_pretrained, is_instance_config, load_config, make_builder
from paddle_pointrend.paddleseg.instance_prediction import instance_classes

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = [path for path in sorted(ROOT.glob("configs/[!_]*/*.yml")) if is_instance_config(load_config(path))]
IDS = [f"{path.parent.name}/{path.stem}" for path in CONFIGS]
# Of detectron2: mask head, iterations, steps, learning rate, batch.
RECIPES = {
    "coco/mask_rcnn_R_50_FPN_1x": ("StandardMaskHead", 90000, [60000, 80000], 0.02, 16),
    "coco/mask_rcnn_R_50_FPN_3x": ("StandardMaskHead", 270000, [210000, 250000], 0.02, 16),
    "coco/pointrend_rcnn_R_50_FPN_1x": ("PointRendMaskHead", 90000, [60000, 80000], 0.02, 16),
    "coco/pointrend_rcnn_R_50_FPN_3x": ("PointRendMaskHead", 270000, [210000, 250000], 0.02, 16),
    "coco/pointrend_rcnn_X_101_32x8d_FPN_3x": ("PointRendMaskHead", 270000, [210000, 250000], 0.02, 16),
    "cityscapes/pointrend_rcnn_R_50_FPN_1x": ("PointRendMaskHead", 24000, [18000], 0.01, 8),
}


def _build(path):
    config = load_config(path)
    drop_pretrained(config.dic["model"])
    return config, make_builder(config)


def test_the_configs_are_there():
    assert set(RECIPES) <= set(IDS)
    assert {"facades", "nuclei"} <= {path.parent.name for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_network_data_and_recipe(path):
    config, builder = _build(path)
    model, optimizer = build(builder, path, "model"), build(builder, path, "optimizer")
    dataset = builder.build_component(config.train_dataset_cfg)
    validation = builder.build_component(config.val_dataset_cfg)
    assert (dataset.mean == validation.mean).all() and (dataset.std == validation.std).all()
    assert dataset.channels == validation.channels
    assert dataset.flip and not validation.flip
    assert model.mask_head.num_classes == model.num_classes
    assert optimizer.get_lr() <= config.dic["lr_scheduler"]["learning_rate"]
    names, ids = instance_classes(config, validation)
    assert len(set(names)) == len(set(ids)) == model.num_classes
    name = f"{path.parent.name}/{path.stem}"
    if name in RECIPES:  # here, because building a network takes seconds
        check_recipe(name, config, model, builder.lr_scheduler)


def check_recipe(name, config, model, scheduler):
    head, iters, steps, rate, batch = RECIPES[name]
    assert type(model.mask_head).__name__ == head
    assert config.iters == iters
    assert 8 * config.batch_size == batch
    rates = {}
    for iteration in (0, 500, 1000, steps[0] - 1, *steps, iters - 1):
        scheduler.step(iteration)
        rates[iteration] = scheduler.get_lr()
    expected = {iteration: rate * 0.1 ** sum(iteration >= step for step in steps) for iteration in rates}
    expected |= {0: 0.001 * rate, 500: (0.5 * 0.001 + 0.5) * rate}
    assert rates == pytest.approx(expected)
    frozen = [name for name, parameter in model.named_parameters() if parameter.stop_gradient]
    assert any(name.startswith("backbone.conv1") for name in frozen)
    assert all(name.startswith(("backbone.conv1", "backbone.layer1")) for name in frozen)
    assert model.backbone.stride_in_1x1 == ("X_101" not in name)


def test_a_published_network_predicts():
    model = _build(ROOT / "configs/coco/pointrend_rcnn_R_50_FPN_1x.yml")[1].model
    assert isinstance(model.mask_head, PointRendMaskHead)
    model.eval()
    (found,) = model(paddle.zeros([1, 3, 64, 64]), [[50, 60]])
    assert found.masks.shape[1:] == [224, 224]
    assert found.coarse_masks.shape[1:] == [28, 28]
