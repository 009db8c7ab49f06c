"""Exported networks of instances against eager Paddle, in every runtime."""

import contextlib
import dataclasses
import importlib.util
import io
import json

import numpy as np
import paddle
import pytest
import tiny_mask_rcnn as tiny
import yaml
from command_line import error_line, run
from tiny_instances import write_instance_config

from paddle_pointrend import Predictor
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.deploy import InstancePredictor, RuntimeLoadError
from paddle_pointrend.deploy.instance_export import compare_instances, export_instances
from paddle_pointrend.deploy.runtimes import RUNTIMES
from paddle_pointrend.paddleseg import load_config
from paddle_pointrend.paddleseg.configs import make_builder
from paddle_pointrend.paddleseg.instance_prediction import predict_instances

IMAGES = CocoInstances("", "", "", short_sides=[64], longest_side=110, std=[50.0, 60.0, 70.0], channels="BGR")
PARTS = ("boxes", "scores", "classes")
READERS = {"onnx": ["onnxruntime", "openvino"], "paddle": ["paddle-inference"]}


def network(head, **options):
    """A small network whose random weights make a few distinct detections."""
    model = tiny.build(head, **options)
    for layer, scale in (
        (model.rpn.objectness_logits, 1.0),
        (model.rpn.anchor_deltas, 0.2),
        (model.box_head.cls_score, 0.3),
        (model.box_head.bbox_pred, 1.0),
    ):
        layer.weight.set_value(scale * paddle.randn(layer.weight.shape))
    predictors = [model.mask_head.predictor] if head == "standard" else []
    if head == "pointrend":
        predictors = [model.mask_head.coarse_head.prediction, model.mask_head.point_head.predictor]
    for layer in predictors:
        layer.weight.set_value(paddle.randn(layer.weight.shape))
    return model


def pictures():
    random = np.random.default_rng(0)
    coarse = [random.integers(0, 256, size, np.uint8) for size in ((9, 12, 3), (14, 7, 3))]
    return [np.ascontiguousarray(image.repeat(9, 0).repeat(8, 1)) for image in coarse]


def export(model, folder, file_format):
    if file_format == "onnx" and importlib.util.find_spec("paddle2onnx") is None:
        pytest.skip("paddle2onnx is not installed")
    names = ["a", "b", "c"]
    export_instances(model, folder, format=file_format, classes=names, category_ids=[2, 4, 9], images=IMAGES)


def readers(file_format):
    return [name for name in READERS[file_format] if importlib.util.find_spec(RUNTIMES[name].package)]


@pytest.mark.parametrize("file_format", READERS)
@pytest.mark.parametrize("head", ["pointrend", "standard"])
def test_every_runtime_finds_what_eager_paddle_finds(head, file_format, tmp_path):
    model = network(head, box_head={"fc_channels": 32, "score_threshold": 0.3, "max_detections": 12})
    expected = [predict_instances(model, IMAGES, image) for image in pictures()]
    assert all(len(found.scores) >= 5 for found in expected)
    inside = [list(found.probabilities.values())[-1] > 0.5 for found in expected]
    assert 0.01 < np.mean([mask.mean() for mask in inside]) < 0.99
    export(model, tmp_path, file_format)
    for runtime in readers(file_format):
        predictor = InstancePredictor(tmp_path, runtime=runtime, num_threads=1)
        found = [predictor.predict(image) for image in pictures()]
        row = compare_instances(expected, found)
        assert row["same_detections"] and row["same_order"], runtime
        assert row["different_pixels"] <= 1e-4, runtime
        for one, other in zip(expected, found):
            np.testing.assert_allclose(other.boxes, one.boxes, atol=2e-3)
            np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)
            assert list(other.probabilities) == list(one.probabilities)
            for name, masks in one.probabilities.items():
                assert np.mean(np.abs(other.probabilities[name] - masks) > 1e-3) < 1e-3, (runtime, name)
    file = tmp_path / "deploy.yaml"
    content = yaml.safe_load(file.read_text())
    content["instances"]["score_threshold"] = 1.0
    file.write_text(yaml.safe_dump(content))
    for runtime in readers(file_format):
        found = InstancePredictor(tmp_path, runtime=runtime).predict(pictures()[0])
        assert found.boxes.shape == (0, 4) and found.masks().shape == (0, 81, 96)
        assert found.as_coco(1, [2, 4, 9]) == []


def test_the_comparison_tells_what_differs():
    model = network("standard")
    found = [predict_instances(model, IMAGES, image) for image in pictures()]
    row = compare_instances(found, found)
    assert row["same_detections"] and row["different_pixels"] == 0 and row["images"] == 2
    assert not compare_instances(found, found[::-1])["same_detections"]
    turned = dataclasses.replace(found[0], **{name: getattr(found[0], name)[::-1] for name in PARTS})
    turned = dataclasses.replace(turned, probabilities={"prediction": found[0].probabilities["prediction"][::-1]})
    row = compare_instances(found[:1], [turned])
    assert row["same_detections"] and not row["same_order"] and row["different_pixels"] == 0
    fewer = dataclasses.replace(found[0], **{name: getattr(found[0], name)[1:] for name in PARTS})
    assert not compare_instances(found[:1], [fewer])["same_detections"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A config, weights and an exported folder in format paddle."""
    folder = tmp_path_factory.mktemp("exported")
    config = write_instance_config(folder)
    weights = folder / "model.pdparams"
    paddle.seed(0)
    paddle.save(make_builder(load_config(config)).model.state_dict(), str(weights))
    opts = ["--opts", "val_dataset.annotations=none.json", "class_names=['person', 'car']", "category_ids=[3, 7]"]
    arguments = ["--config", config, "--model_path", weights, "--save_dir", folder / "export"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run("export", *arguments, *opts) == 0
    assert "2 random images in paddle-inference: 20 instances, the same in number, class" in printed.getvalue()
    return config, weights, folder / "export"


def test_the_commands(exported, tmp_path, capsys):
    config, weights, folder = exported
    files = {f"{graph}.{suffix}" for graph in ("features", "boxes", "masks") for suffix in ("json", "pdiparams")}
    assert {file.name for file in folder.iterdir()} == files | {"deploy.yaml"}
    deploy = yaml.safe_load((folder / "deploy.yaml").read_text())
    assert deploy["classes"] == ["person", "car"] and deploy["instances"]["category_ids"] == [3, 7]
    images = config.parent / "data/images"
    results = {}
    for path in (weights, folder):
        out = tmp_path / path.name
        arguments = ["--config", config, "--model_path", path, "--image_path", images, "--save_dir", out]
        assert run("predict", *arguments) == 0
        results[path] = json.loads((out / "predictions.json").read_text())
        assert len(list((out / "added_prediction").iterdir())) == 3
        assert run("val", "--config", config, "--model_path", path, "--json", out / "ap.json") == 0
    assert "Runtime: paddle-inference" in capsys.readouterr().out
    assert len(results[folder]) == len(results[weights]) > 0
    one, other = (
        json.loads((tmp_path / path.name / "ap.json").read_text())["predictions"] for path in (weights, folder)
    )
    assert one["refined"]["mask"]["ap"] == pytest.approx(other["refined"]["mask"]["ap"], abs=1e-6)


def test_predict_needs_no_config(exported, tmp_path, capsys):
    config, _, folder = exported
    results = []
    for given in (["--config", config], []):
        out = tmp_path / str(len(given))
        images = ["--image_path", config.parent / "data/images", "--save_dir", out]
        assert run("predict", *given, "--model_path", folder, *images) == 0
        results.append(json.loads((out / "predictions.json").read_text()))
        assert len(list((out / "added_prediction").iterdir())) == 3
    of_files = [{(result["file_name"], result["category_id"], result["score"]) for result in part} for part in results]
    assert of_files[0] == of_files[1]
    assert of_files[0]
    arguments = ["--model_path", folder, "--image_path", config.parent / "data/images", "--save_dir", out, "--is_slide"]
    capsys.readouterr()
    assert run("predict", *arguments) == 2
    assert f"--is_slide is for networks of labels, but the model of {folder} finds instances" in error_line(capsys)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("predict", ["--runtime", "onnxruntime"], "is in format paddle, onnxruntime reads onnx: export with"),
        ("predict", ["--runtime", "paddle"], "--runtime paddle runs trained weights"),
        ("predict", ["--model_path", "{weights}", "--runtime", "openvino"], "runs exported networks of instances"),
        ("predict", ["--opts", "model.num_classes=5"], "has 2 classes"),
        ("export", ["--output", "label"], "--output is for networks of labels"),
        ("export", ["--precision", "int8"], "--precision is for networks of labels"),
        ("export", ["--model_path", "none.pdparams"], "no such file"),
    ],
)
def test_mistakes_are_one_line(exported, tmp_path, capsys, command, arguments, words):
    config, weights, folder = exported
    capsys.readouterr()
    arguments = [argument.format(weights=weights) for argument in arguments]
    given = [] if "--model_path" in arguments else ["--model_path", folder]
    images = ["--image_path", config.parent / "data/images"] if command == "predict" else []
    assert run(command, "--config", config, *given, *images, "--save_dir", tmp_path / "out", *arguments) == 2
    assert words in error_line(capsys)


def test_damaged_folders(exported, tmp_path):
    with pytest.raises(RuntimeLoadError, match="network of instances, which InstancePredictor runs"):
        Predictor(exported[2])
    file = exported[2] / "deploy.yaml"
    content = yaml.safe_load(file.read_text())
    for key, value, words in (
        ("max_detections", -1, "instances.max_detections is '-1', expected an integer above 0"),
        ("strides", "4", "instances.strides is '4', expected a list of integers"),
    ):
        changed = {**content, "instances": {**content["instances"], key: value}}
        (tmp_path / "deploy.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(RuntimeLoadError, match=words):
            InstancePredictor(tmp_path)
    (tmp_path / "deploy.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RuntimeLoadError, match=r"holds no features\.json"):
        InstancePredictor(tmp_path)
