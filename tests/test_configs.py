"""Every config is parsed and its network built (without the pretrained backbone, which would be downloaded)."""

from pathlib import Path

import paddle
import pytest
from paddleseg.cvlibs import Config, SegBuilder

import paddle_pointrend  # noqa: F401

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(ROOT.glob("configs/[!_]*/*.yml"))


def _build(path):
    config = Config(str(path))
    model = config.dic["model"]
    model.get("segmentor", model)["backbone"].pop("pretrained", None)
    return config, SegBuilder(config)


def test_there_are_configs_for_each_dataset():
    folders = {path.parent.name for path in CONFIGS}
    assert {"camvid", "cityscapes", "scenes"} <= folders


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_a_network_with_one_loss_for_each_training_output(path):
    config, builder = _build(path)
    model = builder.model
    image = paddle.zeros([2, 3, 64, 96])
    model.train()
    outputs = model(image)
    assert len(outputs) == len(builder.loss["types"]) == len(config.loss_cfg["coef"])
    model.eval()
    num_classes = config.model_cfg["num_classes"]
    assert [list(logits.shape) for logits in model(image)] == [[2, num_classes, 64, 96]]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_head_says_how_to_run_it(path):
    head = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert f"{path.relative_to(ROOT)}" in head
    assert " train " in head
    assert "Expected time: " in head
    assert "Expected score:" in head


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


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("prefix", ["", "pointrend_"])
def test_camvid_configs_make_coarse_maps_of_the_stride_in_their_name(prefix, stride):
    _, builder = _build(ROOT / f"configs/camvid/{prefix}semantic_fpn_resnet18_stride{stride}.yml")
    segmentor = getattr(builder.model, "segmentor", builder.model)
    assert segmentor.coarse_stride == stride
    assert segmentor.forward_features(paddle.zeros([1, 3, 64, 96]))[0].shape[2:] == [
        64 // stride,
        96 // stride,
    ]
