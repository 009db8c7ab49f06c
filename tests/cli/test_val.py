"""`val`: its measures against PaddleSeg's evaluation, and the weights it refuses."""

import json
import pathlib
import re

import numpy as np
import paddle
import pytest
from command_line import error_line, run
from conftest import TINY_CLASSES, write_config, write_tiny_dataset
from paddleseg.core import evaluate
from paddleseg.cvlibs import Config, SegBuilder
from PIL import Image


class Output(paddle.nn.Layer):
    """One of a PointRendSeg's two predictions, as a model for PaddleSeg's own evaluation."""

    def __init__(self, model, index):
        super().__init__()
        self.model, self.index = model, index

    def forward(self, x):
        return [self.model.predict_both(x)[self.index]]


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ([], {}),
        (
            ["--aug_eval", "--scales", 0.75, 1.25, "--flip_horizontal", "--flip_vertical"],
            {"aug_eval": True, "scales": [0.75, 1.25], "flip_horizontal": True, "flip_vertical": True},
        ),
        (
            ["--is_slide", "--crop_size", 48, 40, "--stride", 24, 32],
            {"is_slide": True, "crop_size": [48, 40], "stride": [24, 32]},
        ),
    ],
)
def test_val_agrees_with_paddlesegs_evaluation(trained, varied_weights, tmp_path, flags, options):
    # The image is resized, so that predictions must be brought back to the labels' size.
    config = tmp_path / "resized.yml"
    resized = "mode: val\n  transforms:\n    - {type: Resize, target_size: [80, 96]}\n"
    config.write_text(trained.config.read_text().replace("mode: val\n  transforms:\n", resized))
    file = tmp_path / "deep/measures.json"
    assert run("val", "--config", config, "--model_path", varied_weights, "--json", file, *flags) == 0
    report = json.loads(file.read_text())
    assert report["images"] == 3
    assert list(file.parent.iterdir()) == [file]
    builder = SegBuilder(Config(str(config)))
    builder.model.set_state_dict(paddle.load(str(varied_weights)))
    for index, name in enumerate(("coarse", "refined")):
        model = Output(builder.model, index)
        _, accuracy, class_iou, _, _ = evaluate(model, builder.val_dataset, print_detail=False, **options)
        found = report["predictions"][name]
        assert found["acc"] == pytest.approx(float(accuracy), abs=1e-6)
        assert [iou or 0 for iou in found["class_iou"]] == pytest.approx(list(class_iou), abs=1e-6)
    assert report["predictions"]["coarse"] != report["predictions"]["refined"]


def test_val_shows_both_predictions_side_by_side(trained, capsys, tmp_path):
    trained_config = trained.config.read_text()
    config = tmp_path / "named.yml"
    config.write_text(trained_config + "class_names: [ground, red, green, blue]\n")
    assert run("val", "--config", config, "--model_path", trained.weights.parent) == 0
    output = capsys.readouterr().out
    for word in ("coarse", "refined", "mIoU", "mAcc", "boundary IoU", "IoU: blue", "boundary IoU: ground"):
        assert word in output
    config.write_text(trained_config + "class_names: [ground]\n")
    assert run("val", "--config", config, "--model_path", trained.weights) == 2
    assert "class_names has 1 names" in error_line(capsys)


def test_val_of_a_model_without_refinement_has_one_prediction(trained, tmp_path, capsys):
    with paddle.utils.unique_name.guard():
        model = SegBuilder(Config(str(trained.plain_config))).model
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    arguments = ["--model_path", tmp_path / "model.pdparams", "--json", tmp_path / "m.json"]
    assert run("val", "--config", trained.plain_config, *arguments) == 0
    assert list(json.loads((tmp_path / "m.json").read_text())["predictions"]) == ["prediction"]
    assert "refined" not in capsys.readouterr().out


def test_val_does_not_need_the_backbones_pretrained_weights(trained, tmp_path):
    config = tmp_path / "pretrained.yml"
    text = trained.config.read_text()
    config.write_text(text.replace("output_stride: 32", "output_stride: 32, pretrained: /nowhere.pdparams"))
    assert run("train", "--config", config, "--save_dir", tmp_path / "out") == 2
    assert run("val", "--config", config, "--model_path", trained.weights) == 0


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="there is no folder that nobody can write into")
def test_val_finds_before_the_work_that_json_cannot_be_written(trained, capsys):
    assert run("val", "--config", trained.config, "--model_path", "none", "--json", "/proc/self/m.json") == 2
    assert "--json /proc/self/m.json: cannot write this file" in error_line(capsys)


def test_val_says_that_json_could_not_be_written_after_all(trained, tmp_path, monkeypatch, capsys):
    def fail(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("paddle_pointrend.cli.val.write_json", fail)
    arguments = ["--model_path", trained.weights, "--json", tmp_path / "m.json"]
    assert run("val", "--config", trained.config, *arguments) == 2
    captured = capsys.readouterr()
    assert "refined" in captured.out
    assert captured.err.splitlines()[-1].endswith("cannot write this file: No space left on device")


def test_val_warns_of_flags_without_effect(trained, capsys):
    flags = ["--crop_size", 32, 32, "--scales", 0.5]
    assert run("val", "--config", trained.config, "--model_path", trained.weights, *flags) == 0
    output = capsys.readouterr().out
    assert "--crop_size without --is_slide: no effect" in output
    assert "--scales without --aug_eval: no effect" in output


def test_given_flags_win_over_test_config(trained, varied_weights, tmp_path):
    """What test_config says and no flag changes stays; the measures are PaddleSeg's with the sum of both."""
    config = tmp_path / "augmented.yml"
    keys = "aug_eval: true, scales: 1.25, flip_vertical: true, is_slide: true, crop_size: [64, 64], stride: [32, 32]"
    config.write_text(trained.config.read_text() + f"test_config: {{{keys}}}\n")
    file = tmp_path / "measures.json"
    flags = ["--scales", 0.5, 2, "--flip_horizontal", "--crop_size", 40, 48]
    assert run("val", "--config", config, "--model_path", varied_weights, "--json", file, *flags) == 0
    found = json.loads(file.read_text())
    flips = {"flip_horizontal": True, "flip_vertical": True}
    options = {"scales": [0.5, 2.0], **flips, "is_slide": True, "crop_size": [40, 48], "stride": [32, 32]}
    assert found["inference"] == {"augment": True, **options}
    builder = SegBuilder(Config(str(trained.config)))
    builder.model.set_state_dict(paddle.load(str(varied_weights)))
    _, accuracy, *_ = evaluate(
        Output(builder.model, 1), builder.val_dataset, print_detail=False, aug_eval=True, **options
    )
    assert found["predictions"]["refined"]["acc"] == pytest.approx(float(accuracy), abs=1e-6)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (
            ["test_config={'aug_eval': True, 'scales': 'abc'}"],
            "test_config.scales is 'abc', expected a number or a list",
        ),
        (["test_config={'aug_eval': True, 'scales': [1, None]}"], "test_config.scales is [1, None], expected"),
        (["test_config={'aug_eval': True, 'scales': 0}"], "--scales must be above 0, got [0.0]"),
        (["test_config=None"], "test_config is None, expected a dict"),
        (["test_config=abc"], "test_config is 'abc', expected a dict"),
        (["class_names=5"], "class_names is 5, expected a list of names"),
        (["class_names=grey"], "class_names is 'grey', expected a list of names"),  # four letters for four classes
    ],
)
def test_val_names_a_mistake_in_the_config(trained, capsys, opts, words):
    assert run("val", "--config", trained.config, "--model_path", trained.weights, "--opts", *opts) == 2
    assert words in error_line(capsys)


@pytest.mark.parametrize("workers", [0, 1])
def test_val_names_a_file_that_cannot_be_read(tmp_path, trained, capsys, workers):
    root = write_tiny_dataset(tmp_path / "data")
    config = write_config(tmp_path / "config.yml", root, "PointRendSeg")
    (root / "images/val1.png").write_bytes(b"not a picture")
    arguments = ["--model_path", trained.weights, "--num_workers", workers]
    assert run("val", "--config", config, *arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]  # after the progress bar
    broken = root / "images/val1.png"
    assert last == f"paddle-pointrend val: error: cannot read {broken}: not an image that OpenCV or Pillow can read"


def test_val_names_a_label_of_another_size(tmp_path, trained, capsys):
    root = write_tiny_dataset(tmp_path / "data")
    config = write_config(tmp_path / "config.yml", root, "PointRendSeg")
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(root / "labels/val1.png")
    assert run("val", "--config", config, "--model_path", trained.weights) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith(
        f"{root / 'labels/val1.png'} is 64x32, its image {root / 'images/val1.png'} 64x64; make them of one size"
    )


def test_val_says_that_a_class_occurs_in_no_label(tmp_path, trained, capsys):
    root = write_tiny_dataset(tmp_path / "data")
    config = write_config(tmp_path / "config.yml", root, "PointRendSeg")
    for path in (root / "labels").glob("val*.png"):
        label = np.asarray(Image.open(path))
        Image.fromarray(np.where(label == 2, 255, label).astype(np.uint8)).save(path)
    assert run("val", "--config", config, "--model_path", trained.weights) == 0
    assert (
        "val_dataset: class 2 occurs in none of the 3 labels, but 255 does, which is ignored" in capsys.readouterr().out
    )


def test_refuses_a_corrupt_checkpoint(trained, tmp_path, capsys):
    broken = tmp_path / "model.pdparams"
    cases = {b"": "cannot be read", b"not a checkpoint": "is not a file of weights"}
    for content, words in {**cases, trained.weights.read_bytes()[:5000]: "cannot be read"}.items():
        broken.write_bytes(content)
        assert run("val", "--config", trained.config, "--model_path", broken) == 2
        assert f"model.pdparams {words}" in error_line(capsys)


def test_refuses_a_checkpoint_of_another_model(trained, capsys):
    assert run("val", "--config", trained.plain_config, "--model_path", trained.weights) == 2
    line = error_line(capsys)
    assert re.search(r"does not belong to this model: \d+ of \d+ tensors are missing: backbone", line)


def test_refuses_a_checkpoint_with_layers_that_the_model_lacks(trained, tmp_path, capsys):
    # The same network, but that its head sums P2 too: it has every tensor of the model, and more.
    config = tmp_path / "stride4.yml"
    config.write_text(trained.config.read_text().replace("head_levels: [1, 2, 3]", "head_levels: [0, 1, 2, 3]"))
    states = []
    for path in (trained.config, config):
        with paddle.utils.unique_name.guard():
            states.append(SegBuilder(Config(str(path))).model.state_dict())
    extra = [name for name in states[1] if name not in states[0]]
    assert extra and all(states[1][name].shape == states[0][name].shape for name in states[0])
    paddle.save(states[1], str(tmp_path / "model.pdparams"))
    assert run("val", "--config", trained.config, "--model_path", tmp_path) == 2
    named = f"{len(extra)} tensors are of layers that the model lacks: {', '.join(extra[:3])}"
    assert error_line(capsys).endswith(f"does not belong to this model: {named}")


def test_refuses_a_checkpoint_of_another_class_count(trained, tmp_path, capsys):
    root = write_tiny_dataset(tmp_path / "data", num_classes=6)
    config = write_config(tmp_path / "six.yml", root, "PointRendSeg", num_classes=6)
    assert run("predict", "--config", config, "--model_path", trained.weights, "--image_path", root) == 2
    line = error_line(capsys)
    assert "head.classifier.weight [4, 16, 1, 1] instead of [6, 16, 1, 1]" in line
    assert f"trained for {TINY_CLASSES} classes, the model has 6" in line


def test_a_fault_of_the_program_keeps_its_traceback(trained, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("a fault")

    monkeypatch.setattr("paddle_pointrend.cli.val.evaluate_predictions", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        run("val", "--config", trained.config, "--model_path", trained.weights)


def test_val_writes_a_report_of_any_config(trained, varied_weights, tmp_path, capsys):
    # The images are resized and padded, so that pictures and points must be brought back to their size.
    config = tmp_path / "resized.yml"
    transforms = "    - {type: Resize, target_size: [80, 96]}\n    - {type: Padding, target_size: [96, 128]}\n"
    text = trained.config.read_text() + "class_names: [ground, red, <green>, blue]\n"
    config.write_text(text.replace("mode: val\n  transforms:\n", f"mode: val\n  transforms:\n{transforms}"))
    folder = tmp_path / "deep/report"
    arguments = ["--config", config, "--model_path", varied_weights]
    assert run("val", *arguments, "--report", folder, "--report_images", 1, "--json", tmp_path / "m.json") == 0
    assert {path.name for path in folder.iterdir()} == {"report.html", "difference.png", "metrics.json"}
    assert (folder / "metrics.json").read_text() == (tmp_path / "m.json").read_text()
    page = (folder / "report.html").read_text()
    scores = [float(gain) for gain in re.findall(r"Boundary IoU [\d.]+ coarse, [\d.]+ refined \(([+-][\d.]+)\)", page)]
    assert 1 <= len(scores) <= 2
    for words in ("Confusion", "&lt;green&gt;", "<h1>resized</h1>", str(varied_weights), "step 3: points"):
        assert words in page
    assert run("val", *arguments, "--report", folder, "--is_slide", "--crop_size", 48, 40, "--stride", 24, 32) == 0
    assert "of one pass an image; the measures are not" in (folder / "report.html").read_text()


def test_val_reports_curves_where_the_training_has_them(trained, tmp_path):
    save_dir = tmp_path / "out"
    arguments = ["--iters", 4, "--save_interval", 2, "--log_iters", 1, "--use_vdl", "--do_eval"]
    assert run("train", "--config", trained.config, "--save_dir", save_dir, *arguments) == 0
    weights = save_dir / "best_model"
    assert run("val", "--config", trained.config, "--model_path", weights, "--report", tmp_path / "report") == 0
    page = (tmp_path / "report/report.html").read_text()
    for name in ("loss on the coarse map", "loss on the points", "learning rate", "mIoU on the val images, refined"):
        assert name in page


def test_val_reports_a_model_without_refinement(trained, tmp_path, capsys):
    with paddle.utils.unique_name.guard():
        model = SegBuilder(Config(str(trained.plain_config))).model
    paddle.save(model.state_dict(), str(tmp_path / "model.pdparams"))
    arguments = ["--model_path", tmp_path, "--report", tmp_path / "report", "--report_images", 1]
    assert run("val", "--config", trained.plain_config, *arguments) == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.html", "metrics.json"}
    page = (tmp_path / "report/report.html").read_text()
    assert page.count("<article>") == 2 and "there is no coarse one to compare it with" in page
    assert "Wrote" in capsys.readouterr().out


def test_val_refuses_a_folder_for_the_report_before_the_work(trained, tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["--model_path", trained.weights, "--report", tmp_path / "file"]
    assert run("val", "--config", trained.config, *arguments) == 2
    assert "file: cannot write into this folder" in error_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
