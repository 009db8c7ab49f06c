"""What the page does, without a browser: networks, uploads, results, the command's mistakes."""

import os
import re
import shutil

import cv2
import numpy as np
import pytest
import yaml
from command_line import REPOSITORY, error_line, run
from PIL import Image

from paddle_pointrend.app.networks import load_network
from paddle_pointrend.app.page import _own_upload, _Visit
from paddle_pointrend.app.results import describe_prediction
from paddle_pointrend.app.uploads import LONGEST_SIDE, Photograph, read_photograph, read_truth
from paddle_pointrend.data.images import ImageError, read_image
from paddle_pointrend.data.labels import read_label
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg import evaluate, load_config


@pytest.fixture
def network(trained, varied_weights):
    return load_network(varied_weights, trained.config)


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def upload(uploads, source, name=None):
    target = uploads / (name or source.name)
    target.write_bytes(source.read_bytes())
    return str(target)


def test_a_network_with_steps_predicts_what_predictor_does(network, trained, varied_weights):
    image = read_image(trained.root / "images/val0.png")
    prediction = network.predict(image, 64, None)
    expected = Predictor.from_config(trained.config, varied_weights).predict(image)
    np.testing.assert_array_equal(prediction.refined, expected)
    assert (prediction.coarse != prediction.refined).any()
    assert [step.size for step in prediction.steps] == [(16, 16), (32, 32), (64, 64)]
    assert [len(step.coords) for step in prediction.steps] == [64, 64, 64]


def test_points_and_threshold_are_the_callers(network, trained):
    image = read_image(trained.root / "images/val0.png")
    assert [len(step.coords) for step in network.predict(image, 128, None).steps] == [128, 128, 128]
    assert [len(step.coords) for step in network.predict(image, 64, 0.0).steps] == [0, 0, 0]
    assert [len(step.coords) for step in network.predict(image, 64, None).steps] == [64, 64, 64]


def test_points_that_differ_by_step_are_the_networks_own_until_the_slider_moves(trained, varied_weights):
    opts = ["model.num_subdivision_points=[300,20,50]"]
    network = load_network(varied_weights, trained.config, opts)
    image = read_image(trained.root / "images/val0.png")
    assert network.default_points == 300
    labels = Predictor.from_config(load_config(trained.config, opts), varied_weights).predict(image)
    for points, expected in ((300, [256, 20, 50]), (128, [128] * 3), (300, [256, 20, 50])):  # the first map has 256
        prediction = network.predict(image, points, None)
        assert [len(step.coords) for step in prediction.steps] == expected
        assert np.array_equal(prediction.refined, labels) == (points == 300)


def test_an_exported_folder_shows_its_labels(tiny_exports):
    _, folders = tiny_exports
    network = load_network(folders["paddle", "logits"])
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    prediction = network.predict(image, 64, None)
    expected = Predictor(folders["paddle", "logits"]).predict(image)
    np.testing.assert_array_equal(prediction.refined, expected)
    assert prediction.coarse is None and network.default_points is None
    assert "photograph" in describe_prediction(network, image, prediction)


def test_another_model_shows_its_labels(trained, tmp_path):
    assert run("train", "--config", trained.plain_config, "--save_dir", tmp_path, "--iters", 1) == 0
    weights = tmp_path / "iter_1" / "model.pdparams"
    network = load_network(weights, trained.plain_config)
    image = read_image(trained.root / "images/val0.png")
    expected = Predictor.from_config(trained.plain_config, weights).predict(image)
    np.testing.assert_array_equal(network.predict(image, 64, None).refined, expected)


def test_the_measures_are_those_of_val(network, trained, varied_weights, uploads):
    (trained.root / "one.txt").write_text("images/val0.png labels/val0.png\n")
    opts = [f"val_dataset.val_path={trained.root / 'one.txt'}"]
    expected = evaluate(trained.config, varied_weights, opts, progress=False)
    photograph = read_photograph(upload(uploads, trained.root / "images/val0.png"))
    truth = read_truth(upload(uploads, trained.root / "labels/val0.png"), photograph)
    shown = _Visit(network).predict(photograph, truth, 64, 0.0)
    for row, key in (("mIoU", "miou"), ("boundary IoU", "boundary_iou")):
        numbers = re.search(rf"{row} +([\d.]+) +([\d.]+)", shown).groups()
        assert [float(number) for number in numbers] == [
            round(100 * expected[name][key], 2) for name in ("coarse", "refined")
        ]


def test_uploads_are_deleted_whatever_they_are(network, trained, uploads):
    visit = _Visit(network)
    none, photograph, _, shown = visit.take_photograph(upload(uploads, trained.root / "images/val0.png"), 64, 0.0)
    assert none is None and "compare-whole" in shown and os.listdir(uploads) == []
    visit.take_truth(upload(uploads, trained.root / "labels/val0.png"), photograph, 64, 0.0)
    visit.take_truth(upload(uploads, trained.root / "labels/val0.png"), None, 64, 0.0)
    (uploads / "bad.png").write_bytes(b"not a picture")
    assert 'role="alert"' in visit.take_photograph(str(uploads / "bad.png"), 64, 0.0)[-1]
    assert os.listdir(uploads) == []


def test_a_file_elsewhere_is_neither_read_nor_deleted(uploads, trained):
    with pytest.raises(ValueError, match="was not uploaded here"):
        _own_upload(str(trained.root / "images/val0.png"))


def _png(path, pixels):
    cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "no picture"),
        (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "no picture"),
        (lambda path: Image.new("1", (9000, 9000)).save(path), "81 megapixels"),
        (lambda path: path.write_bytes(_png(path, np.zeros((64, 64, 3), np.uint8)).read_bytes()[:-30]), "truncated"),
    ],
    ids=["empty", "postscript", "large", "truncated"],
)
def test_a_bad_photograph_is_named(tmp_path, make, words):
    path = tmp_path / "upload.png"
    make(path)
    with pytest.raises(ImageError, match=words):
        read_photograph(path)
    assert not path.exists()


def test_a_bad_label_is_named(tmp_path, network):
    photograph = Photograph(np.zeros((64, 64, 3), np.uint8), (64, 64))
    with pytest.raises(UsageError, match="32x64 pixels, the photograph 64x64"):
        read_truth(_png(tmp_path / "size.png", np.zeros((64, 32), np.uint8)), photograph)
    with pytest.raises(UsageError, match="the label holds colours"):
        read_truth(_png(tmp_path / "colours.png", np.zeros((64, 64, 3), np.uint8)), photograph)
    shown = _Visit(network).predict(photograph, np.full((64, 64), 77), 64, 0.0)
    assert 'role="alert"' in shown and "77" in shown


def test_a_large_photograph_is_shrunk_with_its_label(tmp_path):
    label = np.repeat(np.repeat(np.array([[0, 1], [2, 3]], np.uint8), 50, axis=0), 2000, axis=1)
    photograph = read_photograph(_png(tmp_path / "a.png", cv2.cvtColor(label, cv2.COLOR_GRAY2BGR)))
    assert photograph.pixels.shape == (51, LONGEST_SIDE, 3)
    truth = read_truth(_png(tmp_path / "b.png", label), photograph)
    assert truth.shape == (51, LONGEST_SIDE) and set(np.unique(truth)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(truth[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 1, 2, 3])


def test_what_fails_in_the_network_is_a_message(network):
    def fail(*args):
        raise RuntimeError("too <small>\nfor it")

    network.predict = fail
    shown = _Visit(network).predict(Photograph(np.zeros((8, 8, 3), np.uint8), (8, 8)), None, 64, 0.0)
    assert "too &lt;small&gt; for it" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model_path", "nowhere"], "nowhere is no exported folder: --config has to name"),
        (["--model_path", "{weights}", "--config", "{config}", "--port", "70000"], "--port 70000"),
        (
            ["--model_path", "{export}", "--config", "{config}"],
            "is an exported folder, which --config and --opts do not",
        ),
        (["--model_path", "{export}", "--opts", "model.num_classes=9"], "is an exported folder"),
    ],
)
def test_mistakes_are_one_line(trained, tiny_exports, capsys, arguments, words):
    if "--port" in arguments:
        pytest.importorskip("gradio")
    paths = {"weights": trained.weights, "config": trained.config, "export": tiny_exports[1]["onnx", "logits"]}
    arguments = [part.format(**paths) for part in arguments]
    assert run("app", *arguments) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_an_export_of_another_number_of_channels_is_one_line(tiny_exports, tmp_path, capsys):
    folder = shutil.copytree(tiny_exports[1]["paddle", "logits"], tmp_path / "grey")
    deploy = yaml.safe_load((folder / "deploy.yaml").read_text())
    deploy |= {"mean": [127.5], "std": [127.5]}
    (folder / "deploy.yaml").write_text(yaml.safe_dump(deploy))
    assert run("app", "--model_path", folder) == 2
    assert "the page takes RGB photographs, but the network's images have channels: 1" in error_line(capsys)


def test_labels_read_as_elsewhere(trained, tmp_path):
    path = trained.root / "labels/val0.png"
    photograph = read_photograph(_png(tmp_path / "photograph.png", cv2.imread(str(trained.root / "images/val0.png"))))
    copy = tmp_path / "label.png"
    copy.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_truth(copy, photograph), read_label(path))


def test_the_pages_constraints_differ_in_pillow_alone():
    pins = [
        dict(line.split("==") for line in (REPOSITORY / name).read_text().splitlines() if "==" in line)
        for name in ("constraints.txt", "constraints-app.txt")
    ]
    assert {name for name in pins[0].keys() & pins[1].keys() if pins[0][name] != pins[1][name]} == {"pillow"}
