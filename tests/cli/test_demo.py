"""The demo command, with two iterations instead of hundreds."""

import json

import cv2
import numpy as np
import paddle
import pytest

from paddle_pointrend import scenes
from paddle_pointrend.cli import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    sizes = ["--iters", "2", "--num_train", "4", "--num_val", "2"]
    code = main(["demo", "--save_dir", str(folder), "--device", "cpu", *sizes])
    assert code == 0
    return folder


def test_demo_measures_coarse_and_refined(demo):
    summaries = json.loads((demo / "metrics.json").read_text())
    assert list(summaries) == ["coarse", "refined"]
    assert summaries["coarse"] != summaries["refined"]
    for summary in summaries.values():
        assert len(summary["class_iou"]) == len(scenes.CLASSES)
        assert 0 <= summary["miou"] <= 1
        assert 0 <= summary["boundary_iou"] <= 1


def test_demo_report_is_one_file_with_pictures_table_and_curves(demo):
    page = (demo / "report.html").read_text()
    assert "://" not in page.replace("http://www.w3.org", "")  # self-contained
    # Of each of the two scenes: image, truth, coarse, refined, difference, and the points of three steps.
    assert page.count("data:image/") >= 2 * 8
    for text in ("mIoU", "boundary IoU", "loss on the coarse map", "loss on the points", *scenes.CLASSES):
        assert text in page


def test_demo_draws_scenes_in_the_cityscapes_layout(demo):
    assert len(list((demo / "scenes/leftImg8bit/train").rglob("*_leftImg8bit.png"))) == 4
    assert len(list((demo / "scenes/gtFine/val").rglob("*_labelTrainIds.png"))) == 2


def test_demo_picture_is_an_image(demo):
    picture = cv2.imread(str(demo / "difference.png"))
    assert picture.ndim == 3
    assert np.std(picture) > 10


def test_demo_refuses_a_folder_of_other_scenes(demo, capsys):
    assert main(["demo", "--save_dir", str(demo), "--num_train", "5", "--num_val", "2"]) == 2
    assert "already holds scenes" in capsys.readouterr().err


def test_without_the_weights_package_the_demo_trains_a_resnet(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("paddle_pointrend.cli.demo.find_package", lambda name: None)
    sizes = ["--iters", "1", "--num_train", "4", "--num_val", "1"]
    assert main(["demo", "--save_dir", str(tmp_path), "--device", "cpu", *sizes]) == 0
    assert "training ResNet-18 from scratch" in capsys.readouterr().out
    assert "segmentor.backbone.bb_0_0.conv1._conv.weight" in paddle.load(
        str(tmp_path / "training/iter_1/model.pdparams")
    )
