"""The configs hold the recipes of the references: optimizer, schedule, transforms, points."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from paddle import nn
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend import PointRendSeg

ROOT = Path(__file__).parents[2]
DETECTRON2 = ROOT / "configs/cityscapes/pointrend_semantic_fpn_resnet101_detectron2.yml"
MMSEG = {
    (dataset, depth): ROOT / f"configs/{dataset}/pointrend_semantic_fpn_resnet{depth}_mmseg.yml"
    for dataset in ("cityscapes", "ade20k")
    for depth in (50, 101)
}


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("prefix", ["", "pointrend_"])
def test_cityscapes_configs_hold_the_recipe_of_the_reproduction(prefix, depth):
    path = ROOT / f"configs/cityscapes/{prefix}semantic_fpn_resnet{depth}_1024x512_80k.yml"
    config = Config(str(path))
    assert (config.batch_size, config.iters) == (4, 80000)  # for each of 4 GPUs
    assert config.optimizer_cfg == {"type": "SGD", "momentum": 0.9, "weight_decay": 0.0005}
    schedule = config.lr_scheduler_cfg
    assert (schedule["type"], schedule["learning_rate"], schedule["power"]) == ("PolynomialDecay", 0.01, 0.9)
    assert schedule["warmup_iters"] > 0
    crops = [t["crop_size"] for t in config.train_dataset_cfg["transforms"] if t["type"] == "RandomPaddingCrop"]
    assert crops == [[1024, 512]]
    backbone = config.model_cfg.get("segmentor", config.model_cfg)["backbone"]
    assert (backbone["type"], backbone["output_stride"]) == (f"ResNet{depth}_vd", 8)
    assert "ssld" in backbone["pretrained"]


def learning_rates(path):
    """Of every iteration, as PaddleSeg's trainer steps."""
    config = Config(str(path))
    scheduler = SegBuilder(config).lr_scheduler
    rates = []
    for _ in range(config.iters):
        rates.append(scheduler.get_lr())
        scheduler.step()
    return np.array(rates)


def steps(dataset_config):
    """The transforms of a dataset, type -> options, in their order."""
    return {step["type"]: {k: v for k, v in step.items() if k != "type"} for step in dataset_config["transforms"]}


def default(function, name):
    return inspect.signature(function).parameters[name].default


@pytest.mark.parametrize(("dataset", "depth"), MMSEG)
def test_mmseg_configs_hold_the_recipe_of_mmsegmentation(dataset, depth):
    config = Config(str(MMSEG[dataset, depth]))
    batch, iters, classes = {"cityscapes": (2, 80000, 19), "ade20k": (4, 160000, 150)}[dataset]
    assert (config.batch_size, config.iters) == (batch, iters)  # for each of 4 GPUs
    assert config.optimizer_cfg == {"type": "SGD", "momentum": 0.9, "weight_decay": 0.0005}
    assert [loss["avg_non_ignore"] for loss in config.loss_cfg["types"]] == [False, False]
    model = config.model_cfg
    assert model["num_classes"] == model["segmentor"]["num_classes"] == classes
    assert model["segmentor"]["backbone"] == {"type": "ResNet", "depth": depth, "deep_stem": True}
    assert (model["num_train_points"], model["num_subdivision_points"]) == (2048, 8196)
    assert list(steps(config.train_dataset_cfg)) == [
        "RandomResize",
        "RandomCrop",
        "RandomHorizontalFlip",
        "PhotoMetricDistortion",
        "Normalize",
        "Padding",
    ]


def test_detectron2_config_holds_the_recipe_of_the_authors():
    config = Config(str(DETECTRON2))
    assert (config.batch_size * 8, config.iters) == (32, 65000)
    assert (config.optimizer_cfg["momentum"], config.optimizer_cfg["weight_decay"]) == (0.9, 0.0001)
    assert all(loss.get("avg_non_ignore", True) for loss in config.loss_cfg["types"])
    model = config.model_cfg
    assert (model["num_train_points"], model["num_subdivision_points"], model["size_divisor"]) == (2048, 8192, 32)
    assert model["segmentor"]["predictor_init_std"] == pytest.approx((2 / 19) ** 0.5, rel=1e-7)
    train, val = steps(config.train_dataset_cfg), steps(config.val_dataset_cfg)
    scaling = train["ResizeStepScaling"]
    edges = np.arange(scaling["min_scale_factor"], scaling["max_scale_factor"] + 0.1, scaling["scale_step_size"]) * 1024
    assert edges.tolist() == [512, 768, 1024, 1280, 1536, 1792, 2048]
    assert train["RandomCrop"] == {"crop_size": [1024, 512], "category_max_ratio": 0.75}
    assert val["RandomResize"] == {"scale": [2048, 1024]}
    for normalize in (train["Normalize"], val["Normalize"]):
        assert np.multiply(normalize["mean"], 255) == pytest.approx([103.53, 116.28, 123.675], rel=1e-12)
        assert np.multiply(normalize["std"], 255) == pytest.approx([1, 1, 1], rel=1e-12)
    assert list(train)[-2:] == list(val)[-2:] == ["RGBToBGR", "Normalize"]


def test_detectron2_schedule_is_the_authors():
    """detectron2/solver: linear from 1/1000 in 1000 iterations, a tenth from 40000 and from 55000 on."""
    iteration = np.arange(65000)
    warmup = 0.001 + 0.999 * np.minimum(iteration / 1000, 1)
    steps_done = (iteration >= 40000).astype(int) + (iteration >= 55000)
    np.testing.assert_allclose(learning_rates(DETECTRON2), 0.01 * warmup * 0.1**steps_done, rtol=1e-12)


@pytest.mark.torch
def test_detectron2_schedule_equals_fvcores():
    """detectron2's solver is made of these parts."""
    parts = pytest.importorskip("fvcore.common.param_scheduler")
    steps_only = parts.MultiStepParamScheduler([1, 0.1, 0.01], milestones=[40000, 55000], num_updates=65000)
    schedule = parts.CompositeParamScheduler(
        [parts.LinearParamScheduler(0.001, 1.0), steps_only], [1 / 65, 64 / 65], ["rescaled", "fixed"]
    )
    expected = [0.01 * schedule(i / 65000) for i in range(65000)]
    np.testing.assert_allclose(learning_rates(DETECTRON2), expected, rtol=1e-9)


def test_detectron2_norms_do_not_decay():
    """With gradients of zero a parameter shrinks by its weight decay alone."""
    config = Config(str(DETECTRON2), opts=["model.segmentor.backbone.depth=50"])
    config.dic["lr_scheduler"] = {"type": "MultiStepDecay", "learning_rate": 1000.0, "milestones": [10]}
    builder = SegBuilder(config)
    norms = [layer for layer in builder.model.sublayers() if isinstance(layer, nn.GroupNorm)]
    assert len(norms) == 7
    spared = {parameter.name for norm in norms for parameter in norm.parameters()}
    trained = [parameter for parameter in builder.model.parameters() if not parameter.stop_gradient]
    before = {parameter.name: parameter.clone() for parameter in trained}
    optimizer = builder.optimizer
    sum((parameter * 0).sum() for parameter in trained).backward()
    optimizer.step()
    for parameter in trained:
        factor = 1 if parameter.name in spared else 1 - 1000 * 0.0001
        expected = before[parameter.name] * factor
        np.testing.assert_allclose(parameter.numpy(), expected.numpy(), rtol=1e-5, err_msg=parameter.name)


@pytest.fixture
def mmseg_config():
    """Reads one of mmsegmentation's own configs."""
    mmengine = pytest.importorskip("mmengine")
    mmseg = pytest.importorskip("mmseg")

    def read(dataset, depth):
        name = {"cityscapes": "4xb2-80k_cityscapes-512x1024", "ade20k": "4xb4-160k_ade20k-512x512"}[dataset]
        path = Path(mmseg.__file__).parent / f".mim/configs/point_rend/pointrend_r{depth}_{name}.py"
        return mmengine.Config.fromfile(path)

    return read


@pytest.mark.torch
@pytest.mark.parametrize(("dataset", "depth"), MMSEG)
def test_mmseg_configs_equal_mmsegmentations_own(mmseg_config, dataset, depth):
    ours, theirs = Config(str(MMSEG[dataset, depth])), mmseg_config(dataset, depth)
    assert ours.iters == theirs.train_cfg.max_iters
    assert ours.batch_size == theirs.train_dataloader.batch_size
    optimizer = theirs.optim_wrapper.optimizer
    assert ours.lr_scheduler_cfg["learning_rate"] == optimizer.lr
    assert ours.optimizer_cfg == {
        "type": optimizer.type,
        "momentum": optimizer.momentum,
        "weight_decay": optimizer.weight_decay,
    }
    assert "paramwise_cfg" not in theirs.optim_wrapper and not theirs.optim_wrapper.clip_grad
    _assert_same_model(ours, theirs.model)
    _assert_same_transforms(ours, theirs)


def _assert_same_model(ours, theirs):
    model = ours.model_cfg
    coarse, points = theirs.decode_head
    assert model["num_classes"] == model["segmentor"]["num_classes"] == coarse.num_classes == points.num_classes
    assert theirs.backbone.type == "ResNetV1c" and model["segmentor"]["backbone"]["deep_stem"]
    assert model["segmentor"]["backbone"]["depth"] == theirs.backbone.depth
    assert model["num_train_points"] == theirs.train_cfg.num_points
    for name in ("oversample_ratio", "importance_sample_ratio"):
        assert default(PointRendSeg, name) == theirs.train_cfg[name]
    assert model["num_subdivision_points"] == theirs.test_cfg.subdivision_num_points
    assert ours.loss_cfg["coef"] == [head.loss_decode.loss_weight for head in (coarse, points)]
    for loss, head in zip(ours.loss_cfg["types"], (coarse, points)):
        assert loss["avg_non_ignore"] == head.loss_decode.get("avg_non_ignore", False)


def _assert_same_transforms(ours, theirs):
    from paddleseg.transforms import RandomHorizontalFlip

    train, val = steps(ours.train_dataset_cfg), steps(ours.val_dataset_cfg)
    resize, crop, flip, distort = theirs.train_pipeline[2:-1]  # without reading and packing
    assert train["RandomResize"] == {"scale": list(resize.scale), "ratio_range": list(resize.ratio_range)}
    assert train["RandomCrop"] == {"crop_size": list(crop.crop_size)[::-1], "category_max_ratio": crop.cat_max_ratio}
    assert train["RandomHorizontalFlip"] == {} and default(RandomHorizontalFlip, "prob") == flip.prob
    assert train["PhotoMetricDistortion"] == {} and list(distort) == ["type"]
    assert val["RandomResize"] == {"scale": list(theirs.test_pipeline[1].scale)}
    preprocessor = theirs.model.data_preprocessor
    for normalize in (train["Normalize"], val["Normalize"]):
        assert np.multiply(normalize["mean"], 255) == pytest.approx(preprocessor.mean, rel=1e-12)
        assert np.multiply(normalize["std"], 255) == pytest.approx(preprocessor.std, rel=1e-12)
    padding = {"target_size": list(preprocessor.size)[::-1], "im_padding_value": preprocessor.pad_val}
    assert train["Padding"] == padding and preprocessor.bgr_to_rgb


@pytest.mark.torch
@pytest.mark.parametrize("dataset", ["cityscapes", "ade20k"])
def test_mmseg_schedule_equals_mmengines(mmseg_config, dataset):
    torch = pytest.importorskip("torch")
    from mmengine.optim import scheduler

    theirs = mmseg_config(dataset, 50)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=theirs.optim_wrapper.optimizer.lr)
    schedulers = []
    for options in theirs.param_scheduler:
        options = dict(options)
        schedulers.append(getattr(scheduler, options.pop("type"))(optimizer, **options))
    expected = []
    for _ in range(theirs.train_cfg.max_iters):
        expected.append(optimizer.param_groups[0]["lr"])
        for each in schedulers:
            each.step()
    np.testing.assert_allclose(learning_rates(MMSEG[dataset, 50]), expected, rtol=2e-5)
