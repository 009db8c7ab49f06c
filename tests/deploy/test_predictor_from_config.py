"""`Predictor.from_config`, against the command predict; and PaddleSeg's transforms in a Predictor."""

import gc
import logging
import pathlib

import cv2
import numpy as np
import paddle
import pytest
from conftest import write_config
from paddleseg.core import infer
from paddleseg.transforms import Compose, Normalize, Padding, Resize
from predictions import pixels_of, predict, predicted

from paddle_pointrend import Predictor, load_model
from paddle_pointrend.data import cityscapes
from paddle_pointrend.deploy import export as export_module
from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.trained_weights import choose_runtime
from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg import load_config
from paddle_pointrend.paddleseg.preprocessing import Preprocessing, channels_first

RESIZED = "val_dataset.transforms=[{'type':'Resize','target_size':[48,80]},{'type':'Normalize'}]"
PADDED = "val_dataset.transforms=[{'type':'Normalize'},{'type':'Padding','target_size':[96,80]}]"


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        (
            {"scales": (1.5, 0.75), "flip_horizontal": True, "flip_vertical": True},
            ["--aug_pred", "--scales", 1.5, 0.75, "--flip_horizontal", "--flip_vertical"],
        ),
        (
            {"window": (40, 32), "window_stride": (24, 20)},
            ["--is_slide", "--crop_size", 40, 32, "--stride", 24, 20],
        ),
        (
            {"scales": (1.25,), "window": (40, 32), "window_stride": (40, 32)},
            ["--aug_pred", "--scales", 1.25, "--is_slide", "--crop_size", 40, 32, "--stride", 40, 32],
        ),
    ],
)
@pytest.mark.parametrize("opts", [(), (RESIZED,), (PADDED,)])
def test_predicts_what_the_command_writes(exported, tmp_path, options, flags, opts):
    image = exported.root / "images/val0.png"
    flags += ["--opts", *opts] if opts else []
    assert predict(exported, exported.weights, image, tmp_path, "--runtime", "paddle", *flags) == 0
    predictor = Predictor.from_config(exported.config, exported.weights, opts, **options)
    labels = predictor.predict(pixels_of(image))
    assert len(np.unique(labels)) > 1
    assert np.array_equal(labels, predicted(tmp_path, "val0.png"))


def test_takes_a_config_that_is_loaded_already(exported):
    config = load_config(exported.config)
    image = pixels_of(exported.root / "images/val0.png")
    expected = Predictor.from_config(exported.config, exported.weights).predict(image)
    assert np.array_equal(Predictor.from_config(config, exported.weights).predict(image), expected)
    with pytest.raises(UsageError, match="opts change a YAML file as it is read"):
        Predictor.from_config(config, exported.weights, ["iters=3"])


def test_palette_is_of_the_classes_where_they_are_known(exported):
    config = load_config(exported.config)
    config.dic["val_dataset"]["type"] = "Cityscapes"
    predictor = Predictor.from_config(config, exported.weights)
    assert np.array_equal(predictor.palette, cityscapes.PALETTE)


def test_an_export_on_the_way_goes_with_its_predictor(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    image = pixels_of(exported.root / "images/val0.png")
    expected = Predictor.from_config(exported.config, exported.weights).predict(image)
    assert list(tmp_path.iterdir()) == []
    predictor = Predictor.from_config(exported.config, exported.weights, runtime="paddle-inference", num_threads=1)
    assert predictor.runtime.name == "paddle-inference"
    assert [path.name.startswith("paddle-pointrend-") for path in tmp_path.iterdir()] == [True]
    assert np.mean(predictor.predict(image) == expected) > 0.999
    del predictor
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_the_fastest_runtime_is_eager_paddle_where_the_export_fails(exported, monkeypatch, caplog):
    def export(*arguments, **options):
        raise ExportError("it cannot be traced")

    monkeypatch.setattr(export_module, "export_model", export)
    with caplog.at_level(logging.WARNING, "paddle_pointrend"):
        predictor = Predictor.from_config(exported.config, exported.weights, runtime=None)
    assert predictor.runtime.name == "paddle"
    assert "cannot be exported, so eager Paddle runs it: it cannot be traced" in caplog.text
    with pytest.raises(ExportError):
        Predictor.from_config(exported.config, exported.weights, runtime="paddle-inference")
    with pytest.raises(ValueError, match="paddle does not compute in bf16 here"):
        Predictor.from_config(exported.config, exported.weights, precision="bf16")


def test_the_runtime_is_eager_paddle_where_no_export_pays(monkeypatch):
    assert choose_runtime(many_images=False) == "paddle"
    assert choose_runtime() != "paddle"
    assert choose_runtime("bf16", many_images=False) == "openvino"
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    assert choose_runtime() == "paddle"


def test_images_of_one_channel(tmp_path, tiny_dataset):
    config = write_config(tmp_path / "grey.yml", tiny_dataset, "SemanticFPN")
    text = config.read_text().replace("num_classes", "img_channels: 1\n  num_classes", 2)
    text = text.replace("Normalize", "Normalize\n      mean: [0.4]\n      std: [0.2]")
    config.write_text(text.replace("type: ResNet18_vd,", "type: ResNet18_vd, in_channels: 1,"))
    with paddle.utils.unique_name.guard():
        network = load_model_without_weights(config)
    paddle.save(network.state_dict(), str(tmp_path / "model.pdparams"))
    predictor = Predictor.from_config(config, tmp_path)
    assert predictor.image_channels == 1
    grey = cv2.imread(str(tiny_dataset / "images/val0.png"), cv2.IMREAD_GRAYSCALE)
    x = paddle.to_tensor(((grey / 255 - 0.4) / 0.2).astype(np.float32)[None, None])
    network.eval()
    with paddle.no_grad():
        expected = network(x)[0].numpy()[0]
    np.testing.assert_allclose(predictor.predict_logits(grey), expected, rtol=1e-3, atol=1e-3)
    assert [labels.shape for labels in predictor.predict([grey, grey[:40]])] == [(64, 64), (40, 64)]
    with pytest.raises(ValueError, match=r"image is uint8 \[64, 64, 3\], expected an array uint8 \[H, W\] in grey"):
        predictor.predict(pixels_of(tiny_dataset / "images/val0.png"))


def load_model_without_weights(config):
    from paddleseg.cvlibs import SegBuilder

    return SegBuilder(load_config(config)).model


@pytest.mark.parametrize("window", [None, (40, 32)])
@pytest.mark.parametrize("transforms", [[Resize([80, 48])], [Padding([90, 70])], [Resize([40, 30]), Padding([80, 60])]])
def test_an_exported_network_takes_any_transforms_that_are_given(exported, transforms, window):
    transforms = [*transforms, Normalize()]
    image = np.random.randint(0, 256, (50, 60, 3)).astype(np.uint8)
    options = {"scales": [1.5, 1.0], "flip_vertical": True}
    predictor = Predictor(
        exported.logits, num_threads=1, window=window, preprocess=Preprocessing(transforms), **options
    )
    data = Compose(transforms, to_rgb=False)({"img": image.astype(np.float32)})
    slide = {"is_slide": True, "crop_size": window, "stride": (30, 24)} if window else {}
    exported.network.eval()
    with paddle.no_grad():
        x = paddle.to_tensor(data["img"][None])
        labels, logits = infer.aug_inference(exported.network, x, data["trans_info"], **options, **slide)
    np.testing.assert_allclose(predictor.predict_logits(image), logits.numpy()[0], rtol=1e-3, atol=1e-3)
    assert np.mean(predictor.predict(image) == labels.numpy()[0, 0]) > 0.995
    with pytest.raises(ValueError, match="read in parts is only normalised"):
        predictor.predict_file("a.tif", "b.tif")


def test_labels_are_not_augmented(exported):
    with pytest.raises(ValueError, match="makes labels, which augmentation cannot average"):
        Predictor(exported.label, flip_horizontal=True)
    with pytest.raises(ValueError, match="read in parts is not augmented"):
        Predictor(exported.logits, flip_horizontal=True).predict_file("a.tif", "b.tif")


def test_a_model_of_channels_last_is_one_of_channels_first():
    class Last(paddle.nn.Layer):
        data_format = "NHWC"

        def forward(self, x):
            return [x * paddle.arange(1, 4, dtype="float32")]

    x = paddle.randn([1, 3, 4, 5])
    expected = x * paddle.arange(1, 4, dtype="float32").reshape([1, 3, 1, 1])
    assert np.allclose(channels_first(Last())(x)[0].numpy(), expected.numpy())
    layer = paddle.nn.Conv2D(3, 2, 1)
    assert channels_first(layer) is layer


def test_a_loaded_model_and_a_config_give_the_same(exported):
    image = pixels_of(exported.root / "images/val0.png")
    layer = load_model(exported.config, exported.weights)
    by_layer = Predictor.from_model(layer, mean=[127.5] * 3, std=[127.5] * 3)
    assert np.array_equal(
        by_layer.predict(image), Predictor.from_config(pathlib.Path(exported.config), exported.weights).predict(image)
    )
