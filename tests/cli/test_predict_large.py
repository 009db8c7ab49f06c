"""`predict` of large images, from disk to disk."""

import importlib.util
import shutil

import cv2
import numpy as np
import paddle
import pytest
import yaml
from command_line import error_line, outputs
from predictions import pixels_of, predict, predicted
from tiny_export import MEAN, STD, write_export

from paddle_pointrend.cli import predict as cli_predict
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.runtimes.paddle_inference import PaddleInferenceRuntime

SLIDE = ["--is_slide", "--crop_size", 64, 64, "--stride", 48, 48]


@pytest.fixture
def large_tiff(exported, tmp_path):
    """The path of a TIFF of 600 x 300 pixels, and the labels of a sliding window of 64 x 64 over it."""
    rasterio = pytest.importorskip("rasterio")
    pixels = np.random.randint(0, 256, (300, 600, 3)).astype(np.uint8)
    profile = {"height": 300, "width": 600, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    profile["transform"] = rasterio.Affine(0.5, 0, 4000, 0, -0.5, 9000)
    with rasterio.open(tmp_path / "large.tif", "w", driver="GTiff", **profile) as dataset:
        dataset.write(pixels.transpose(2, 0, 1))
    windows = Predictor.from_model(exported.network, mean=MEAN, std=STD, window=(64, 64), window_stride=(48, 48))
    return tmp_path / "large.tif", windows.predict(pixels)


def test_predict_of_a_tiff_goes_from_disk_to_disk(exported, large_tiff, tmp_path):
    import rasterio

    image, expected = large_tiff
    flags = [*SLIDE, "--custom_color", 1, 2, 3]
    assert predict(exported, exported.logits, image, tmp_path / "out", *flags) == 0
    assert outputs(tmp_path / "out") == {"pseudo_color_prediction/large.tif"}
    with rasterio.open(tmp_path / "out/pseudo_color_prediction/large.tif") as dataset:
        assert np.mean(dataset.read(1) == expected) > 0.999
        assert dataset.colormap(1)[0][:3] == (1, 2, 3)
        assert dataset.crs == "EPSG:32633"


def test_predict_of_a_tiff_above_the_limit_goes_in_parts_without_a_window_too(
    exported, large_tiff, tmp_path, monkeypatch
):
    image, _ = large_tiff
    monkeypatch.setattr(cli_predict, "LARGE_IMAGE", 600 * 300 - 1)
    assert predict(exported, exported.logits, image, tmp_path / "out") == 0  # its own window
    assert outputs(tmp_path / "out") == {"pseudo_color_prediction/large.tif"}


def test_predict_of_a_tiff_that_lies_on_earth_keeps_its_place(exported, large_tiff, tmp_path):
    import rasterio

    image, _ = large_tiff
    assert predict(exported, exported.logits, image, tmp_path / "out") == 0
    with rasterio.open(tmp_path / "out/pseudo_color_prediction/large.tif") as dataset:
        assert dataset.crs == "EPSG:32633"
        assert dataset.transform == rasterio.Affine(0.5, 0, 4000, 0, -0.5, 9000)


@pytest.mark.parametrize("case", ["plain", "label", "augmented", "augmented in a window", "resized"])
def test_predict_of_a_small_tiff_is_that_of_the_same_png(exported, large_tiff, tmp_path, case):
    image = tmp_path / "small.tif"
    for path in (image, tmp_path / "small.png"):
        cv2.imwrite(str(path), pixels_of(large_tiff[0])[..., ::-1])
    model_path = exported.label if case == "label" else exported.logits
    flags = ["--aug_pred", "--scales", 0.5, "--flip_horizontal"] if case.startswith("augmented") else []
    if case == "augmented in a window":
        flags += SLIDE
    if case == "resized":
        model_path = exported.weights
        flags = ["--opts", "val_dataset.transforms=[{'type':'Resize','target_size':[96,64]},{'type':'Normalize'}]"]
    for path in (image, tmp_path / "small.png"):
        assert predict(exported, model_path, path, tmp_path / path.suffix, *flags) == 0
    assert outputs(tmp_path / ".tif") == {"added_prediction/small.tif", "pseudo_color_prediction/small.png"}
    labels = predicted(tmp_path / ".tif", "small.png")
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, predicted(tmp_path / ".png", "small.png"))


def test_predict_skips_a_tiff_that_the_network_fails_on(exported, large_tiff, tmp_path, capsys, monkeypatch):
    def fail(self, x):
        raise RuntimeError("sizes\ntoo small")

    image, _ = large_tiff
    monkeypatch.setattr(PaddleInferenceRuntime, "__call__", fail)
    flags = [*SLIDE, "--runtime", "paddle-inference"]
    assert predict(exported, exported.logits, image, tmp_path / "out", *flags) == 1
    assert f"skipped {image}: the network fails on it: sizes too small" in capsys.readouterr().out
    assert outputs(tmp_path / "out") == set()


def test_predict_in_a_window_takes_large_images_in_parts(exported, large_tiff, tmp_path, monkeypatch):
    import rasterio

    source, expected = large_tiff
    folder = tmp_path / "in"
    folder.mkdir()
    with rasterio.open(source) as dataset:
        cv2.imwrite(str(folder / "large.png"), dataset.read()[::-1].transpose(1, 2, 0))
    shutil.copy(exported.root / "images/val0.png", folder / "small.png")
    flags = SLIDE
    arguments = (exported, exported.logits, folder)
    assert predict(*arguments, tmp_path / "memory", *flags) == 0
    small = {"added_prediction/small.png", "pseudo_color_prediction/small.png"}
    assert outputs(tmp_path / "memory") == small | {name.replace("small", "large") for name in small}
    assert np.mean(predicted(tmp_path / "memory", "large.png") == expected) > 0.999
    monkeypatch.setattr(cli_predict, "LARGE_IMAGE", 64 * 64)
    assert predict(*arguments, tmp_path / "parts", *flags) == 0
    assert outputs(tmp_path / "parts") == small | {"pseudo_color_prediction/large.tif"}
    assert np.mean(predicted(tmp_path / "parts", "large.tif") == expected) > 0.999


def test_predict_without_rasterio_keeps_large_images_in_memory(exported, tmp_path, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rasterio" else find_spec(name))
    monkeypatch.setattr(cli_predict, "LARGE_IMAGE", 64 * 64 - 1)
    flags = ["--is_slide", "--crop_size", 32, 32, "--stride", 32, 32]
    assert predict(exported, exported.logits, exported.root / "images/val0.png", tmp_path, *flags) == 0
    assert "1 large images are predicted in memory, because rasterio is not installed" in capsys.readouterr().out
    assert outputs(tmp_path) == {"added_prediction/val0.png", "pseudo_color_prediction/val0.png"}


def test_predict_of_a_tiff_with_trained_weights(exported, large_tiff, tmp_path):
    image, _ = large_tiff
    flags = ["--is_slide", "--crop_size", 300, 300, "--stride", 300, 300, "--runtime", "paddle"]
    assert predict(exported, exported.weights, image, tmp_path / "out", *flags) == 0
    found = predicted(tmp_path / "out", "large.tif")
    x = paddle.to_tensor(pixels_of(image).astype("float32").transpose(2, 0, 1)[None] / 127.5 - 1)
    with paddle.no_grad():
        halves = [exported.model(x[:, :, :, left : left + 300])[0].argmax(axis=1)[0].numpy() for left in (0, 300)]
    assert len(np.unique(halves)) > 1
    assert np.mean(found == np.hstack(halves)) > 0.999


def test_predict_refuses_a_network_of_one_output_size_for_a_tiff(exported, large_tiff, tmp_path, capsys):
    half = paddle.nn.Sequential(exported.network.first, exported.network.last)  # logits at half the size
    half.labels = False
    folder = write_export(tmp_path / "half", half, "paddle")
    assert predict(exported, folder, large_tiff[0], tmp_path / "out", *SLIDE) == 2
    assert "of windows [1, 64, 64, 3], expected logits" in capsys.readouterr().err.splitlines()[-1]
    # Whole images come back at their own size.
    small = exported.root / "images/val0.png"
    assert predict(exported, folder, small, tmp_path / "small") == 0
    assert np.mean(predicted(tmp_path / "small", "val0.png") == exported.predictor.predict(pixels_of(small))) > 0.99


def test_predict_skips_a_large_image_that_is_damaged(exported, large_tiff, tmp_path, capsys):
    image, _ = large_tiff
    image.write_bytes(image.read_bytes()[:100_000])
    assert predict(exported, exported.logits, image, tmp_path / "out", *SLIDE) == 1
    captured = capsys.readouterr()
    assert f"skipped {image}: {image}: rows" in captured.out + captured.err
    assert outputs(tmp_path / "out") == set()


def test_predict_refuses_a_tiff_that_it_cannot_take_in_parts(exported, large_tiff, tmp_path, capsys, monkeypatch):
    image, _ = large_tiff
    monkeypatch.setattr(cli_predict, "LARGE_IMAGE", 600 * 300 - 1)
    text = tmp_path / "text.tif"
    text.write_text("not a picture")
    resized = ["--opts", "val_dataset.transforms=[{'type':'Resize'},{'type':'Normalize'}]"]
    padded = shutil.copytree(exported.logits, tmp_path / "padded")
    deploy = yaml.safe_load((padded / "deploy.yaml").read_text())
    deploy["Deploy"]["transforms"].append({"type": "Padding", "target_size": [99, 99]})
    (padded / "deploy.yaml").write_text(yaml.safe_dump(deploy))
    for model_path, path, flags, message in (
        (exported.logits, text, [], "is not a picture that GDAL can read"),
        (exported.logits, image, ["--aug_pred"], "is predicted in parts, which --aug_pred cannot do"),
        (exported.label, image, [], "labels cannot be averaged where windows overlap"),
        (padded, image, [], "'type': 'Padding'}, which the predictor does not do"),
        (exported.weights, image, ["--runtime", "paddle", *resized], "the val transforms are Resize, Normalize"),
    ):
        assert predict(exported, model_path, path, tmp_path / "out", *flags) == 2
        line = error_line(capsys)
        assert message in line, line
