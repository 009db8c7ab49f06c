"""`predict` with exported folders."""

import shutil

import cv2
import numpy as np
import paddle
import pytest
import yaml
from command_line import error_line, outputs, run
from conftest import write_config
from paddleseg.core import infer
from paddleseg.transforms import Compose, Normalize
from predictions import pixels_of, predict, predicted
from tiny_export import MEAN, STD


@pytest.mark.parametrize("output", ["logits", "label"])
def test_predict_with_an_exported_folder(exported, tmp_path, capsys, output):
    assert predict(exported, exported.folder / output, exported.root / "images", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "Runtime: paddle-inference" in printed
    assert "exported with other val transforms" in printed
    for name in ("val0.png", "train3.png"):
        expected = exported.predictor.predict(pixels_of(exported.root / "images" / name))
        assert len(np.unique(expected)) > 1
        assert np.mean(predicted(tmp_path, name) == expected) > 0.999
    assert len(outputs(tmp_path)) == 14


def test_an_exported_folder_needs_no_config(exported, tmp_path, capsys):
    image = ["--image_path", exported.root / "images/val0.png"]
    assert predict(exported, exported.logits, image[1], tmp_path / "with") == 0
    assert run("predict", "--model_path", exported.logits, *image, "--save_dir", tmp_path / "without") == 0
    found, expected = (predicted(tmp_path / folder, "val0.png") for folder in ("without", "with"))
    assert np.array_equal(found, expected)
    capsys.readouterr()
    for arguments, words in (
        (["--model_path", exported.weights], "--config is missing; only a --model_path that paddle-pointrend export"),
        (["--model_path", exported.logits, "--opts", "batch_size=2"], "there is no --config"),
        (["--model_path", exported.logits, "--image_path", exported.root / "nowhere"], "no such file"),
    ):
        assert run("predict", *image, "--save_dir", tmp_path / "refused", *arguments) == 2
        assert words in error_line(capsys)
    assert not (tmp_path / "refused").exists()


def test_predict_with_an_exported_folder_augmentation_and_window(exported, tmp_path):
    flags = ["--aug_pred", "--scales", 0.5, 1, "--flip_horizontal"]
    flags += ["--is_slide", "--crop_size", 32, 32, "--stride", 24, 24]
    image = exported.root / "images/val0.png"
    assert predict(exported, exported.logits, image, tmp_path, *flags) == 0
    transforms = Compose([Normalize([m / 255 for m in MEAN], [s / 255 for s in STD])])
    x = paddle.to_tensor(transforms({"img": str(image)})["img"][None])
    window = {"is_slide": True, "crop_size": [32, 32], "stride": [24, 24]}
    with paddle.no_grad():
        labels, _ = infer.aug_inference(exported.network, x, [], [0.5, 1], flip_horizontal=True, **window)
    assert np.mean(predicted(tmp_path, "val0.png") == labels.numpy()[0, 0]) > 0.999


def test_predict_resizes_labels_of_a_network_that_makes_them(exported, tmp_path):
    folder = shutil.copytree(exported.label, tmp_path / "resized")
    deploy = yaml.safe_load((folder / "deploy.yaml").read_text())
    deploy["Deploy"]["transforms"].insert(0, {"type": "Resize", "target_size": [32, 32]})
    (folder / "deploy.yaml").write_text(yaml.safe_dump(deploy))
    assert predict(exported, folder, exported.root / "images/val0.png", tmp_path / "out") == 0
    small = cv2.resize(pixels_of(exported.root / "images/val0.png"), (32, 32))
    expected = exported.predictor.predict(small).repeat(2, axis=0).repeat(2, axis=1)
    assert np.mean(predicted(tmp_path / "out", "val0.png") == expected) > 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{logits}", "--runtime", "paddle"], "--runtime paddle runs trained weights"),
        (["{logits}", "--runtime", "onnxruntime"], "is in format paddle, onnxruntime reads onnx"),
        (["{logits}", "--precision", "bf16"], "is in format paddle, for bf16 export with --format onnx"),
        (["{weights}", "--precision", "bf16", "--runtime", "paddle"], "paddle does not compute in bf16 here"),
        (["{label}", "--aug_pred"], "makes labels, which --aug_pred and --is_slide cannot average"),
        (["{logits}", "--config", "{seven}"], "has 5 classes, the model of"),
        (["{broken}"], "deploy.yaml has no Deploy"),
    ],
)
def test_predict_refuses_an_exported_folder_that_does_not_fit(exported, tmp_path, capsys, arguments, message):
    (tmp_path / "deploy.yaml").write_text("{}")
    seven = write_config(tmp_path / "seven.yml", exported.root, "PointRendSeg", num_classes=7)
    names = {"logits": exported.logits, "label": exported.label, "broken": tmp_path, "seven": seven}
    names["weights"] = exported.weights
    model_path, *flags = (argument.format(**names) for argument in arguments)
    image = exported.root / "images/val0.png"
    assert predict(exported, model_path, image, tmp_path / "out", *flags) == 2
    assert message in error_line(capsys)
