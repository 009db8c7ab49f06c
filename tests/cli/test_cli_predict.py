"""`predict` with exported networks, in other runtimes, and of large images; test_cli.py has what all runtimes share."""

import importlib.util
import shutil
import types

import cv2
import numpy as np
import paddle
import pytest
import yaml
from conftest import write_config, write_tiny_dataset
from paddleseg.core import infer
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.transforms import Compose, Normalize
from PIL import Image
from tiny_export import MEAN, NUM_CLASSES, STD, TinyNetwork, write_export

from paddle_pointrend.cli import main
from paddle_pointrend.cli import predict as cli_predict
from paddle_pointrend.deploy import export as export_module
from paddle_pointrend.deploy.export import ExportError
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.runtimes import has_bfloat16

# The TinyNetwork's normalisation, for the config.
NORMALIZE = [
    "--opts",
    f"val_dataset.transforms=[{{'type':'Normalize','mean':{[m / 255 for m in MEAN]},'std':{[s / 255 for s in STD]}}}]",
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A config, random weights of its model, images, and a TinyNetwork exported as "logits" and as "label"."""
    folder = tmp_path_factory.mktemp("exported")
    case = types.SimpleNamespace(folder=folder, root=write_tiny_dataset(folder / "data"))
    case.config = write_config(folder / "config.yml", case.root, "PointRendSeg", num_classes=NUM_CLASSES)
    paddle.seed(0)
    case.network, labels = TinyNetwork(), TinyNetwork(labels=True)
    labels.set_state_dict(case.network.state_dict())
    case.logits = write_export(folder / "logits", case.network, "paddle")
    case.label = write_export(folder / "label", labels, "paddle")
    case.predictor = Predictor.from_model(case.network, mean=MEAN, std=STD)
    with paddle.utils.unique_name.guard():
        case.model = SegBuilder(Config(str(case.config))).model
    case.model.eval()
    case.weights = folder / "model.pdparams"
    paddle.save(case.model.state_dict(), str(case.weights))
    return case


def predict(exported, model_path, image_path, save_dir, *arguments):
    arguments = ["--model_path", model_path, "--image_path", image_path, "--save_dir", save_dir, *arguments]
    arguments = ["predict", "--config", exported.config, *arguments]  # of two --config the last counts
    return main([str(argument) for argument in arguments])


def error_line(capsys):
    """The one line on stderr that a refused command leaves."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def outputs(save_dir):
    return {str(file.relative_to(save_dir)) for file in save_dir.rglob("*") if file.is_file()}


def predicted(save_dir, name):
    return np.asarray(Image.open(save_dir / "pseudo_color_prediction" / name))


def pixels_of(path):
    return cv2.imread(str(path))[..., ::-1]


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


# ------------------------------------------------------------------ predict: trained weights, exported first


@pytest.fixture
def export_tiny_network(exported, monkeypatch):
    """In the place of the export of the config's model: that of the TinyNetwork. The formats that were asked for."""
    asked = []

    def export(layer, folder, *, format, **description):
        asked.append(format)
        shutil.copytree(exported.logits, folder, dirs_exist_ok=True)

    monkeypatch.setattr(export_module, "export_model", export)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find_spec(name) if name == "paddle" else None)
    return asked


def is_of_tiny_network(exported, save_dir):
    expected = exported.predictor.predict(pixels_of(exported.root / "images/val0.png"))
    return np.mean(predicted(save_dir, "val0.png") == expected) > 0.999


@pytest.mark.parametrize(("many", "formats"), [(7, ["paddle"]), (8, [])])
def test_predict_exports_trained_weights_where_there_are_many_images(
    exported, export_tiny_network, tmp_path, capsys, monkeypatch, many, formats
):
    monkeypatch.setattr(cli_predict, "MANY_IMAGES", many)
    assert predict(exported, exported.weights, exported.root / "images", tmp_path, *NORMALIZE) == 0
    assert export_tiny_network == formats
    assert is_of_tiny_network(exported, tmp_path) == bool(formats)
    printed = capsys.readouterr().out
    assert ("Exporting the model for paddle-inference" in printed) == bool(formats)


@pytest.mark.parametrize(("runtime", "formats"), [("paddle-inference", ["paddle"]), ("paddle", [])])
def test_predict_with_trained_weights_in_the_runtime_that_is_asked_for(
    exported, export_tiny_network, tmp_path, runtime, formats
):
    arguments = [exported.weights, exported.root / "images/val0.png", tmp_path, "--runtime", runtime, *NORMALIZE]
    assert predict(exported, *arguments) == 0
    assert export_tiny_network == formats
    assert is_of_tiny_network(exported, tmp_path) == bool(formats)


SLOW = pytest.mark.slow  # each export takes seconds


@pytest.mark.parametrize(
    "runtime", ["paddle-inference", pytest.param("onnxruntime", marks=SLOW), pytest.param("openvino", marks=SLOW)]
)
def test_predict_runs_the_configs_model_the_same_in_every_runtime(exported, tmp_path, runtime):
    if runtime != "paddle-inference":
        pytest.importorskip(runtime)
        pytest.importorskip("paddle2onnx")
    arguments = (exported, exported.weights, exported.root / "images/val0.png")
    assert predict(*arguments, tmp_path / "paddle") == 0
    assert predict(*arguments, tmp_path / runtime, "--runtime", runtime) == 0
    expected = predicted(tmp_path / "paddle", "val0.png")
    assert len(np.unique(expected)) > 1
    assert np.mean(predicted(tmp_path / runtime, "val0.png") == expected) > 0.999


@pytest.mark.slow
def test_predict_in_bfloat16_changes_few_labels(exported, tmp_path, capsys):
    pytest.importorskip("openvino")
    pytest.importorskip("paddle2onnx")
    if not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    arguments = (exported, exported.weights, exported.root / "images/val0.png")
    assert predict(*arguments, tmp_path / "fp32") == 0
    assert predict(*arguments, tmp_path / "bf16", "--precision", "bf16") == 0
    assert "Runtime: openvino on cpu in bf16" in capsys.readouterr().out
    assert np.mean(predicted(tmp_path / "bf16", "val0.png") == predicted(tmp_path / "fp32", "val0.png")) > 0.9


def test_predict_says_how_to_install_a_runtime_before_it_exports(exported, export_tiny_network, tmp_path, capsys):
    arguments = [exported.weights, exported.root / "images/val0.png", tmp_path]
    for flags in (["--runtime", "openvino"], ["--precision", "bf16"]):
        assert predict(exported, *arguments, *flags) == 2
        assert 'openvino is not installed: pip install -c constraints.txt -e ".[openvino]"' in error_line(capsys)
    assert export_tiny_network == []


def test_predict_stays_in_eager_paddle_where_the_export_fails(exported, tmp_path, capsys, monkeypatch):
    def export(*arguments, **options):
        raise ExportError("it cannot be traced")

    monkeypatch.setattr(export_module, "export_model", export)
    monkeypatch.setattr(cli_predict, "MANY_IMAGES", 1)
    arguments = (exported, exported.weights, exported.root / "images/val0.png", tmp_path)
    assert predict(*arguments) == 0
    assert "cannot be exported, so eager Paddle runs it: it cannot be traced" in capsys.readouterr().out
    assert predict(*arguments, "--runtime", "paddle-inference") == 2
    assert "--runtime paddle-inference: the model cannot be exported: it cannot be traced" in error_line(capsys)


# ------------------------------------------------------------------------------ predict: large images


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
    flags = ["--is_slide", "--crop_size", 64, 64, "--stride", 48, 48, "--custom_color", 1, 2, 3]
    assert predict(exported, exported.logits, image, tmp_path / "out", *flags) == 0
    assert outputs(tmp_path / "out") == {"pseudo_color_prediction/large.tif"}
    with rasterio.open(tmp_path / "out/pseudo_color_prediction/large.tif") as dataset:
        assert np.mean(dataset.read(1) == expected) > 0.999
        assert dataset.colormap(1)[0][:3] == (1, 2, 3)
        assert dataset.crs == "EPSG:32633"
    assert predict(exported, exported.logits, image, tmp_path / "plain") == 0  # its own window


def test_predict_in_a_window_takes_large_images_in_parts(exported, large_tiff, tmp_path, monkeypatch):
    import rasterio

    source, expected = large_tiff
    folder = tmp_path / "in"
    folder.mkdir()
    with rasterio.open(source) as dataset:
        cv2.imwrite(str(folder / "large.png"), dataset.read()[::-1].transpose(1, 2, 0))
    shutil.copy(exported.root / "images/val0.png", folder / "small.png")
    flags = ["--is_slide", "--crop_size", 64, 64, "--stride", 48, 48]
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
    assert predict(exported, folder, large_tiff[0], tmp_path / "out") == 2
    assert "of windows [1, 300, 600, 3], expected logits" in capsys.readouterr().err.splitlines()[-1]
    # Whole images come back at their own size.
    small = exported.root / "images/val0.png"
    assert predict(exported, folder, small, tmp_path / "small") == 0
    assert np.mean(predicted(tmp_path / "small", "val0.png") == exported.predictor.predict(pixels_of(small))) > 0.99


def test_predict_skips_a_large_image_that_is_damaged(exported, large_tiff, tmp_path, capsys):
    image, _ = large_tiff
    image.write_bytes(image.read_bytes()[:100_000])
    assert predict(exported, exported.logits, image, tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert f"skipped {image}: {image}: rows" in captured.out + captured.err
    assert outputs(tmp_path / "out") == set()


def test_predict_refuses_a_tiff_that_it_cannot_take_in_parts(exported, large_tiff, tmp_path, capsys):
    image, _ = large_tiff
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
