"""The script of other tools on an export: what it writes for PaddleX, and the tools that the environment names."""

import os
import sys

import ecosystem
import numpy as np
import pytest
import yaml
from PIL import Image

from paddle_pointrend import Predictor
from paddle_pointrend.deploy.deploy_file import DeployFile

NAMED = [name for name in ("PADDLESEG", "PADDLEX_PYTHON", "NODE_MODULES") if os.environ.get(name)]


@pytest.fixture
def photograph(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (64, 96, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def folders(tiny_exports):
    return [tiny_exports[1][file_format, "label"] for file_format in ("paddle", "onnx")]


def test_paddlex_gets_its_files_and_the_normalisation(tiny_exports, tmp_path):
    exported = folders(tiny_exports)[0]
    ecosystem.write_inference_yml(exported, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"inference.json", "inference.pdiparams", "inference.yml"}
    assert (tmp_path / "inference.json").read_bytes() == (exported / "model.json").read_bytes()
    deploy = yaml.safe_load((tmp_path / "inference.yml").read_text())["Deploy"]
    (normalize,) = deploy["transforms"]
    assert normalize["type"] == "Normalize"
    np.testing.assert_allclose(np.array(normalize["mean"]) * 255, DeployFile.read(exported).mean, rtol=1e-6)


def test_a_tool_that_fails_or_differs_is_told(tiny_exports, photograph, monkeypatch, capsys):
    for name in NAMED:
        monkeypatch.delenv(name)
    arguments = [*map(str, folders(tiny_exports)), str(photograph)]
    assert ecosystem.main(arguments) == 0
    assert capsys.readouterr().out.count("not named, not run") == 4
    assert ecosystem.main([*arguments, "--paddlex", sys.executable]) == 1  # which has no PaddleX
    assert "PaddleX create_model: failed" in capsys.readouterr().out
    ours = np.asarray(Predictor(folders(tiny_exports)[0]).predict(np.asarray(Image.open(photograph))))
    for labels, code in ((ours, 0), (ours + 1, 1), (ours[1:], 1)):
        monkeypatch.setattr(ecosystem, "with_paddleseg", lambda *given, labels=labels: labels)
        assert ecosystem.main([*arguments, "--paddleseg", "somewhere"]) == code
        count = labels.size if code else 0
        assert f"infer.py: {count} of {labels.size} labels differ" in capsys.readouterr().out


@pytest.mark.skipif(not NAMED, reason="no tool is named by PADDLESEG, PADDLEX_PYTHON or NODE_MODULES")
def test_the_tools_that_are_named_give_our_labels(tiny_exports, photograph, capsys):
    assert ecosystem.main([*map(str, folders(tiny_exports)), str(photograph)]) == 0
    assert "labels differ" in capsys.readouterr().out
