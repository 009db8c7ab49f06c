"""demo --instances, with two iterations instead of hundreds."""

import json

import cv2
import numpy as np
import pytest

from paddle_pointrend.cli import instance_demo, main


@pytest.fixture
def small_config(tmp_path, monkeypatch):
    """The demo's config without pretrained weights, which an extra installs, and with few proposals."""
    path = tmp_path / "demo.yml"
    backbone = "    type: EfficientNetLite0\n    pretrained: efficientnet_lite0\n"
    text = instance_demo.CONFIG.read_text()
    assert backbone in text
    path.write_text(text.replace(backbone, "    type: ResNet18_vd\n    output_stride: 32\n").replace("500", "20"))
    monkeypatch.setattr(instance_demo, "CONFIG", path)


def test_demo_trains_measures_and_draws_instances(tmp_path, small_config, capsys):
    sizes = ["--iters", "2", "--num_train", "4", "--num_val", "2"]
    assert main(["demo", "--instances", "--save_dir", str(tmp_path / "out"), "--device", "cpu", *sizes]) == 0
    output = capsys.readouterr().out
    assert "iter: 2/2" in output
    assert any(line.split() == ["coarse", "refined", "difference"] for line in output.splitlines())
    folder = tmp_path / "out/instances"
    assert set(json.loads((folder / "metrics.json").read_text())) == {"coarse", "refined"}
    picture = cv2.imread(str(folder / "instances.png"))
    assert picture.shape[1] == 2 * 512 + 8
    left, right = picture[-256:, :512].astype(int), picture[-256:, 520:].astype(int)
    assert np.abs(left - right).max(-1).mean() > 0.5  # the true instances are drawn; after two iterations few are found
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") >= 2 * 3  # of each scene at least image, truth and what is found
    for text in ("boundary AP", "2 times 2 images, 4 scenes, seed 1", "held-out scenes", "loss", "person"):
        assert text in page
