"""Every config is parsed and its network built (without pretrained weights, which would be downloaded)."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from paddleseg.cvlibs import Config, SegBuilder
from PIL import Image

from paddle_pointrend import PointRendSeg
from paddle_pointrend.cli import main
from paddle_pointrend.paddleseg.configs import drop_pretrained, is_instance_config, load_config
from paddle_pointrend.paddleseg.datasets import check_files, check_samples
from paddle_pointrend.paddleseg.evaluation import evaluate_predictions

ROOT = Path(__file__).parents[2]
ALL = sorted(ROOT.glob("configs/[!_]*/*.yml"))
INSTANCES = [path for path in ALL if is_instance_config(load_config(path))]
CONFIGS = [path for path in ALL if path not in INSTANCES]
ADE20K = ROOT / "configs/ade20k/pointrend_semantic_fpn_resnet50_mmseg.yml"


def _build(path):
    config = Config(str(path))
    drop_pretrained(config.dic["model"])
    return config, SegBuilder(config)


def test_there_are_configs_for_each_dataset():
    folders = {path.parent.name for path in CONFIGS}
    assert {"ade20k", "camvid", "cityscapes", "scenes", "voc12"} <= folders


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_a_network_with_one_loss_for_each_training_output(path):
    config, builder = _build(path)
    model = builder.model
    image = paddle.zeros([2, 3, 64, 96])
    model.train()
    outputs = model(image)
    assert len(outputs) == len(builder.loss["types"]) == len(config.loss_cfg["coef"])
    model.eval()
    outputs = model(image)
    assert list(outputs[0].shape) == [2, config.model_cfg["num_classes"], 64, 96]
    assert len(outputs) == 1 or not isinstance(model, PointRendSeg)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_config_head_says_how_to_run_it(path):
    head = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert f"{path.relative_to(ROOT)}" in head
    assert " train " in head
    assert "Expected time: " in head
    assert "Expected score:" in head


@pytest.mark.parametrize(
    ("name", "coarse_stride", "fine_channels"),
    [
        ("cityscapes/pointrend_deeplabv3_resnet101_os16_1024x512_80k", 16, 256),
        ("cityscapes/pointrend_unet_1024x512_160k", 1, 64),
        ("voc12/pointrend_pspnet_resnet50_os8_voc12", 8, 256),
    ],
)
def test_hosts_make_coarse_maps_of_the_stride_in_their_name_and_fine_ones_of_stride_4(
    name, coarse_stride, fine_channels
):
    """res2 of the ResNets, as the paper's second network reads it."""
    taps = _build(ROOT / f"configs/{name}.yml")[1].model.taps
    assert (taps.coarse_stride, taps.fine_channels) == (coarse_stride, [fine_channels])
    assert taps.fine_strides == [min(4, coarse_stride)]


FROZEN = sorted(path.stem for path in ROOT.glob("configs/camvid/*_frozen.yml"))


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_configs_are_what_attach_writes(name, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    base, output = name.removeprefix("pointrend_").removesuffix("_frozen"), f"configs/camvid/{name}.yml"
    config, weights = f"configs/camvid/{base}.yml", f"output/{base}/iter_600/model.pdparams"
    paddle.save(_build(config)[1].model.state_dict(), weights)
    written = yaml.safe_load(Path(output).read_text())
    iters = str(written["iters"])
    assert main(["attach", "--config", config, "--model_path", weights, "--iters", iters, output]) == 0
    assert yaml.safe_load(Path(output).read_text()) == written


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("configs/camvid/*_fpn_*_stride*.yml")))
def test_camvid_configs_make_coarse_maps_of_the_stride_in_their_name(name):
    model = _build(ROOT / f"configs/camvid/{name}.yml")[1].model
    stride = int(name.rpartition("stride")[2])
    segmentor = getattr(model, "segmentor", model)
    assert segmentor.coarse_stride == stride
    coarse, (fine,) = segmentor.forward_features(paddle.zeros([1, 3, 64, 96]))
    assert coarse.shape[2:] == [64 // stride, 96 // stride]
    assert not name.startswith("pointrend") or fine.shape[2:] == [16, 24]


@pytest.mark.parametrize("end", ["", "_frozen"])
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_camvid_deeplabv3p_has_the_stride_in_its_name_and_fine_features_at_4(stride, end):
    name = f"pointrend_deeplabv3p_efficientnet_lite0_stride{stride}{end}"
    taps = _build(ROOT / f"configs/camvid/{name}.yml")[1].model.taps
    assert (taps.coarse_stride, taps.fine_strides) == (stride, [4])


class _ThirdClass(nn.Layer):
    """Predicts class 3 everywhere, on a map of a size."""

    def __init__(self, num_classes, size):
        super().__init__()
        self.num_classes, self.size = num_classes, size

    def forward(self, x):
        return [
            nn.functional.one_hot(paddle.full([1, *self.size], 3, "int64"), self.num_classes).transpose([0, 3, 1, 2])
        ]


@pytest.fixture
def ade20k(tmp_path):
    """The root of a dataset in ADE20K's layout: 150x200 images, a label 0 (nothing) and the classes 1 to 150."""
    for part in ("training", "validation"):
        for kind in ("images", "annotations"):
            (tmp_path / kind / part).mkdir(parents=True)
        for i in range(2):
            image = np.random.randint(0, 256, (150, 200, 3), "uint8")
            label = np.repeat(np.arange(150, dtype="uint8")[:, None] + 1, 200, axis=1)
            label[:, :20] = 0
            cv2.imwrite(str(tmp_path / f"images/{part}/ADE_{i}.jpg"), image)
            cv2.imwrite(str(tmp_path / f"annotations/{part}/ADE_{i}.png"), label)
    return tmp_path


@pytest.fixture
def ade20k_builder(ade20k):
    roots = [f"{part}_dataset.dataset_root={ade20k}" for part in ("train", "val")]
    return SegBuilder(Config(str(ADE20K), opts=roots))


def test_ade20k_is_read_with_its_labels_from_zero(ade20k_builder):
    dataset = ade20k_builder.train_dataset
    check_files(dataset, "train_dataset")
    check_samples(dataset, "train_dataset")
    batch = next(iter(paddle.io.DataLoader(dataset, batch_size=2)))
    assert batch["img"].shape == [2, 3, 512, 512]
    assert batch["label"].shape == [2, 512, 512]
    classes = set(np.unique(np.stack([dataset[i % 2]["label"] for i in range(20)])).tolist())
    assert 255 in classes and 0 in classes and 149 in classes and 150 not in classes


def test_ade20k_is_measured_at_the_images_own_size(ade20k_builder):
    dataset = ade20k_builder.val_dataset
    check_samples(dataset, "val_dataset")
    assert dataset[0]["img"].shape == (3, 512, 683)
    assert dataset[0]["label"].shape == (1, 150, 200)
    result = evaluate_predictions(_ThirdClass(150, (8, 8)), dataset, progress=False)
    assert result["prediction"]["class_iou"][3] == pytest.approx(1 / 150)


def test_voc12_is_read_and_measured_at_the_images_own_size(tmp_path):
    folder = tmp_path / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    label = np.repeat(np.arange(21, dtype="uint8"), 10)[:, None].repeat(200, axis=1)
    label[:, :20] = 255
    for part in ("train", "val"):
        (folder / f"ImageSets/Segmentation/{part}.txt").write_text(f"{part}0\n{part}1\n")
        for i in range(2):
            cv2.imwrite(str(folder / f"JPEGImages/{part}{i}.jpg"), np.random.randint(0, 256, (210, 200, 3), "uint8"))
            picture = Image.fromarray(label, "P")  # the labels have a palette
            picture.putpalette(list(range(256)) * 3)
            picture.save(folder / f"SegmentationClass/{part}{i}.png")
    roots = [f"{part}_dataset.dataset_root={tmp_path}" for part in ("train", "val")]
    path = ROOT / "configs/voc12/pointrend_pspnet_resnet50_os8_voc12.yml"
    config = Config(str(path), opts=roots)
    builder = SegBuilder(config)
    for name in ("train_dataset", "val_dataset"):
        check_files(getattr(builder, name), name)
        check_samples(getattr(builder, name), name)
    assert builder.train_dataset[0]["img"].shape == (3, 512, 512)
    result = evaluate_predictions(_ThirdClass(21, (512, 512)), builder.val_dataset, progress=False)
    assert result["prediction"]["class_iou"][3] == pytest.approx(1 / 21)
    assert len(config.dic["class_names"]) == builder.val_dataset.num_classes == 21
