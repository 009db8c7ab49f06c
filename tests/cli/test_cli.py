import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import types

import cv2
import numpy as np
import paddle
import pytest
from conftest import TINY_CLASSES, write_config, write_tiny_dataset
from paddleseg.core import evaluate
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.utils import train_profiler
from PIL import Image

import paddle_pointrend
from paddle_pointrend import cli
from paddle_pointrend.cli import main
from paddle_pointrend.paddleseg import checkpoints, profiler

REPOSITORY = pathlib.Path(paddle_pointrend.__file__).parent.parent


needs_the_mended_profiler = pytest.mark.skipif(
    train_profiler.add_profiler_step is not profiler.add_profiler_step, reason="this PaddleSeg has its own profiler"
)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def losses(output):
    return re.findall(r"\[TRAIN\].* loss: ([\d.]+)", output)


def error_line(capsys):
    """The one line on stderr that a refused command leaves."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset, two configs and a PointRendSeg trained for 4 iterations with checkpoints at 2 and 4."""
    folder = tmp_path_factory.mktemp("trained")
    root = write_tiny_dataset(folder / "data")
    case = types.SimpleNamespace(folder=folder, root=root, save_dir=folder / "output")
    case.config = write_config(folder / "pointrend.yml", root, "PointRendSeg")
    case.plain_config = write_config(folder / "semantic_fpn.yml", root, "SemanticFPN")
    case.weights = case.save_dir / "iter_4" / "model.pdparams"
    arguments = ["--iters", 4, "--save_interval", 2, "--seed", 1]
    assert run("train", "--config", case.config, "--save_dir", case.save_dir, *arguments) == 0
    return case


@pytest.fixture(scope="module")
def varied_weights(trained):
    """Weights whose coarse and refined predictions use all classes and differ, as those of 4 steps do not."""
    state = paddle.load(str(trained.weights))
    paddle.seed(3)
    for name in ("segmentor.head.classifier.weight", "point_head.predictor.weight"):
        state[name] = paddle.randn(state[name].shape)
    paddle.save(state, str(trained.folder / "varied.pdparams"))
    return trained.folder / "varied.pdparams"


@pytest.fixture
def resumable(trained, tmp_path):
    """A copy of the training's folder."""
    return shutil.copytree(trained.save_dir, tmp_path / "output")


# ----------------------------------------------------------------------------------------------- train


def test_train_ends_with_the_command_that_evaluates(pointrend_config, tmp_path, capsys):
    options = ["--do_eval", "--use_ema", "--use_vdl", "--repeats", 2, "--log_iters", 1]
    options += ["--opts", "val_dataset.transforms=[{'type':'Normalize'}]"]
    assert run("train", "--config", pointrend_config, "--save_dir", tmp_path / "out", *options) == 0
    output = capsys.readouterr().out
    assert len(losses(output)) == 2
    command = shlex.split(output.strip().splitlines()[-1])
    assert command[:2] == ["paddle-pointrend", "val"]
    assert str(tmp_path / "out/best_model/model.pdparams") in command
    assert (tmp_path / "out/iter_2/ema_model.pdparams").is_file()
    # paddle.flops, which the trainer calls at its end, counts in buffers of the layers.
    for name in ("best_model/model.pdparams", "iter_2/model.pdparams", "iter_2/ema_model.pdparams"):
        assert not [key for key in paddle.load(str(tmp_path / "out" / name)) if key.endswith("total_ops")]
    assert list((tmp_path / "out").glob("vdlrecords*"))
    assert main(command[1:]) == 0
    assert "refined" in capsys.readouterr().out


def test_log_names_what_was_set_before_paddle(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paddle_pointrend, "ENVIRONMENT_SET", ["OMP_NUM_THREADS=7", "MKL_DEBUG_CPU_TYPE=5"])
    run("val", "--config", trained.config, "--model_path", trained.weights)
    lines = [line for line in capsys.readouterr().out.splitlines() if "before Paddle" in line]
    assert len(lines) == 1
    assert lines[0].endswith("OMP_NUM_THREADS=7 MKL_DEBUG_CPU_TYPE=5")


def test_seed_repeats_training_exactly(pointrend_config, tmp_path, capsys):
    logged, weights = [], []
    for i, seed in enumerate((1, 1, 2)):
        paddle.seed(100 + i)  # whatever state the process is in
        folder = tmp_path / str(i)
        arguments = ["--save_dir", folder, "--seed", seed, "--log_iters", 1]
        assert run("train", "--config", pointrend_config, *arguments) == 0
        logged.append(losses(capsys.readouterr().out))
        weights.append(paddle.load(str(folder / "iter_2/model.pdparams"), return_numpy=True))
    assert len(logged[0]) == 2
    assert logged[0] == logged[1]
    assert logged[0] != logged[2]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_refuses_training_images_that_size_divisor_does_not_divide(pointrend_config, capsys):
    arguments = ["--config", pointrend_config, "--save_dir", pointrend_config.parent / "output"]
    assert run("train", *arguments, "--opts", "model.size_divisor=48") == 2
    assert "size_divisor is 48, but the training images are [64, 64]; crop them" in error_line(capsys)


def test_refuses_loss_types_that_do_not_match_the_outputs(pointrend_config, capsys):
    text = pointrend_config.read_text()
    text = text.replace("    - type: PointSampledCrossEntropyLoss\n", "").replace("[1, 1]", "[1]")
    pointrend_config.write_text(text)
    assert run("train", "--config", pointrend_config, "--save_dir", pointrend_config.parent / "out") == 2
    assert "2 != 1" in capsys.readouterr().err


@needs_the_mended_profiler
def test_profiles_and_trains_on(pointrend_config, tmp_path, capsys):
    arguments = ["--config", pointrend_config, "--save_dir", tmp_path / "out", "--iters", 4]
    for name in ("first.json", "second.json"):  # a process's second training is profiled too
        options = f"batch_range=[1,2]; exit_on_finished=false; profile_path={tmp_path / name}"
        assert run("train", *arguments, "--profiler_options", options) == 0
        printed = capsys.readouterr().out
        assert "Profiled iterations 3 to 3" in printed
        assert "The weights are in" in printed
        assert json.loads((tmp_path / name).read_text())["traceEvents"]


# ---------------------------------------------------------------------------------------------- resume


def resume(trained, save_dir, *arguments):
    arguments = ["--config", trained.config, "--save_dir", save_dir, "--log_iters", 1, *arguments]
    return run("train", *arguments)


@pytest.mark.parametrize("file", ["model.pdparams", "model.pdopt"])
def test_resume_auto_skips_a_half_written_checkpoint(trained, resumable, capsys, file):
    damaged = resumable / "iter_4" / file
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 3) == 0
    output = capsys.readouterr().out
    assert re.search(rf"\[WARNING\]\tSkipped .*iter_4: .*{file} cannot be read", output)
    assert f"Resume model from {resumable / 'iter_2'}" in output
    assert "iter: 3/3" in output
    assert "iter: 2/3" not in output


def test_resume_auto_starts_anew_where_no_checkpoint_is_whole(trained, resumable, capsys):
    (resumable / "iter_4/model.pdopt").unlink()
    paddle.save([1], str(resumable / "iter_2/model.pdparams"))
    (resumable / "iter_x").mkdir()
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 1) == 0
    output = capsys.readouterr().out
    assert re.search(r"Skipped .*iter_4: .*model.pdopt: there is no such file", output)
    assert re.search(r"Skipped .*iter_2: .*holds a list", output)
    assert "no checkpoint to resume" in output
    assert "iter: 1/1" in output


def test_resume_auto_does_not_write_over_another_models_checkpoint(trained, resumable, capsys):
    (resumable / "iter_4/model.pdopt").unlink()
    file = resumable / "iter_2/model.pdparams"
    state = paddle.load(str(file))
    del state["point_head.predictor.bias"]
    paddle.save(state, str(file))
    written = file.read_bytes()
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 2) == 2
    line = error_line(capsys)
    assert re.search(r"iter_2/model.pdparams does not belong to this model: .*point_head.predictor.bias", line)
    assert "another --save_dir" in line
    assert file.read_bytes() == written


def test_resume_takes_the_newest_by_number(trained, resumable):
    (resumable / "iter_4").rename(resumable / "iter_10")
    config = Config(str(trained.config))
    with paddle.utils.unique_name.guard():
        model = SegBuilder(config).model
    assert checkpoints.newest_checkpoint(model, resumable) == resumable / "iter_10"


def test_resume_refuses_an_optimizer_state_of_other_parameters(trained):
    config = Config(str(trained.config))
    with paddle.utils.unique_name.guard("other_"):
        model = SegBuilder(config).model
    with pytest.raises(cli.UsageError, match="it has a state for"):
        checkpoints.check_resumable(model, trained.save_dir / "iter_4")


def test_resume_from_a_folder(trained, resumable, capsys):
    assert resume(trained, resumable, "--resume_model", resumable / "iter_2", "--iters", 3) == 0
    assert len(losses(capsys.readouterr().out)) == 1


def test_resume_of_a_finished_training_does_nothing(trained, resumable, capsys):
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 4) == 0
    output = capsys.readouterr().out
    assert "nothing to train" in output
    assert losses(output) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("iter_2", "cannot be read"), ("iter_7", "no such folder"), ("best_model", "iter_N")],
)
def test_resume_refuses_a_named_folder_that_does_not_do(trained, resumable, capsys, name, message):
    (resumable / "best_model").mkdir()
    (resumable / "iter_2/model.pdparams").write_bytes(b"half")
    capsys.readouterr()
    assert resume(trained, resumable, "--resume_model", resumable / name) == 2
    assert message in error_line(capsys)


# ------------------------------------------------------------------------------------------------- val


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
    assert "--crop_size and --stride have no effect without --is_slide" in output
    assert "--scales and --flip_... have no effect without --aug_eval" in output


@pytest.mark.parametrize("workers", [0, 1])
def test_val_names_a_file_that_cannot_be_read(tmp_path, trained, capsys, workers):
    root = write_tiny_dataset(tmp_path / "data")
    config = write_config(tmp_path / "config.yml", root, "PointRendSeg")
    (root / "images/val1.png").write_bytes(b"not a picture")
    arguments = ["--model_path", trained.weights, "--num_workers", workers]
    assert run("val", "--config", config, *arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]  # after the progress bar
    assert last == f"paddle-pointrend val: error: cannot read {root / 'images/val1.png'}"


# --------------------------------------------------------------------------------------------- predict


def predict(trained, image_path, save_dir, *arguments):
    arguments = ["--image_path", image_path, "--save_dir", save_dir, *arguments]
    return run("predict", "--config", trained.config, "--model_path", trained.weights, *arguments)


def outputs(save_dir):
    return {str(file.relative_to(save_dir)) for file in save_dir.rglob("*") if file.is_file()}


def test_predict_writes_the_refined_labels(trained, tmp_path):
    image = trained.root / "images/val0.png"
    assert predict(trained, image, tmp_path, "--custom_color", 9, 8, 7) == 0
    assert outputs(tmp_path) == {"added_prediction/val0.png", "pseudo_color_prediction/val0.png"}
    model = SegBuilder(Config(str(trained.config))).model
    model.set_state_dict(paddle.load(str(trained.weights)))
    model.eval()
    pixels = cv2.imread(str(image))[..., ::-1].astype("float32").transpose(2, 0, 1) / 127.5 - 1
    expected = model(paddle.to_tensor(pixels[None]))[0].argmax(axis=1)[0].numpy()
    written = Image.open(tmp_path / "pseudo_color_prediction/val0.png")
    assert np.mean(np.asarray(written) == expected) > 0.999
    assert written.getpalette()[:3] == [9, 8, 7]


def test_predict_keeps_subfolders_and_skips_broken_images(trained, tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "deep/er").mkdir(parents=True)
    whole = (trained.root / "images/val0.png").read_bytes()
    (folder / "deep/er/good.png").write_bytes(whole)
    (folder / "good.png").write_bytes(whole)
    (folder / "deep/noise.png").write_bytes(b"not a picture")
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    assert predict(trained, folder, tmp_path / "out") == 1
    names = ("deep/er/good.png", "good.png")
    parts = ("added_prediction", "pseudo_color_prediction")
    assert outputs(tmp_path / "out") == {f"{part}/{name}" for part in parts for name in names}
    captured = capsys.readouterr()
    assert "2 of 4 images were skipped" in captured.out
    for name in ("deep/noise.png", "truncated.png"):
        assert f"skipped {folder / name}" in captured.out + captured.err


def test_predict_of_a_list_with_labels_empty_lines_and_a_missing_image(trained, tmp_path):
    listed = trained.root / "images.txt"
    outside = tmp_path / "elsewhere.png"
    shutil.copy(trained.root / "images/val0.png", outside)
    listed.write_text(f"images/val1.png labels/val1.png\n\n{outside}\nimages/none.png\n")
    assert predict(trained, listed, tmp_path / "out") == 1
    names = {"images/val1.png", str(outside.relative_to(outside.anchor))}
    assert outputs(tmp_path / "out/added_prediction") == names
    listed.write_text("images/val1.png\nimages/val2.png\n")
    assert predict(trained, listed, tmp_path / "all") == 0


def test_predict_refuses_images_of_one_output_name(trained, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg"):
        shutil.copy(trained.root / "images/val0.png", tmp_path / "in" / name)
    assert predict(trained, tmp_path / "in", tmp_path / "out") == 2
    line = error_line(capsys)
    assert all(name in line for name in ("in/a.jpg and ", "in/a.png would both be predicted into a.png"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "list.txt").write_text("in/a.png\nin/a.png\nin/../in/a.png\n")  # the same image is not another
    assert predict(trained, tmp_path / "list.txt", tmp_path / "out") == 0


def test_predict_reads_images_above_pillows_limit(trained, tmp_path, monkeypatch, recwarn):
    for limit in (1000, 64 * 64 - 1):  # an error, a warning
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert predict(trained, trained.root / "images/val0.png", tmp_path / str(limit)) == 0
        assert limit == Image.MAX_IMAGE_PIXELS
        assert len(outputs(tmp_path / str(limit))) == 2
    assert not [warning for warning in recwarn if "DecompressionBomb" in warning.category.__name__]


def test_predict_skips_an_image_above_opencvs_limit_or_of_a_kind_it_does_not_write(trained, tmp_path, monkeypatch):
    whole = trained.root / "images/val0.png"
    for name in ("good.png", "large.png", "b.unknown"):
        shutil.copy(whole, tmp_path / name)
    read = cv2.imread

    def imread(path, *flags):
        if path.endswith("large.png"):
            raise cv2.error("pixels <= CV_IO_MAX_IMAGE_PIXELS")
        return read(path, *flags)

    monkeypatch.setattr(cv2, "imread", imread)
    (tmp_path / "list.txt").write_text("large.png\nb.unknown\ngood.png\n")
    assert predict(trained, tmp_path / "list.txt", tmp_path / "out") == 1
    assert outputs(tmp_path / "out") == {"added_prediction/good.png", "pseudo_color_prediction/good.png"}


def test_predict_says_which_file_it_cannot_write(trained, tmp_path, capsys):
    (tmp_path / "added_prediction").write_text("a file")
    assert predict(trained, trained.root / "images/val0.png", tmp_path) == 2
    assert "cannot write" in capsys.readouterr().err.splitlines()[-1]


def test_predict_with_augmentation_and_window(trained, tmp_path):
    flags = ["--aug_pred", "--scales", 0.5, 1, "--flip_horizontal"]
    flags += ["--is_slide", "--crop_size", 32, 32, "--stride", 32, 32]
    assert predict(trained, trained.root / "images/val0.png", tmp_path, *flags) == 0
    assert np.asarray(Image.open(tmp_path / "pseudo_color_prediction/val0.png")).shape == (64, 64)


# ------------------------------------------------------------------------------- mistakes: exit code 2


def change(config, *pairs):
    text = config.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)


CONFIG_MISTAKES = {
    "invalid YAML": (lambda c, d: c.write_text("model: [1,"), "is not valid YAML"),
    "empty": (lambda c, d: c.write_text(""), "config"),
    "no model": (lambda c, d: change(c, ("\nmodel:", "\nmodule:")), "No model"),
    "missing base": (lambda c, d: change(c, ("batch_size: 2", "_base_: none.yml")), "none.yml"),
    "unknown model": (lambda c, d: change(c, ("PointRendSeg", "PointRentSeg")), "did you mean PointRendSeg"),
    "unknown option": (
        lambda c, d: change(c, ("fpn_channels", "fnp_channels")),
        "SemanticFPN: .*fnp_channels",
    ),
    "model classes": (
        lambda c, d: change(c, ("Seg\n  num_classes: 4", "Seg\n  num_classes: 5")),
        "num_classes",
    ),
    "segmentor classes": (
        lambda c, d: change(c, ("FPN\n    num_classes: 4", "FPN\n    num_classes: 5")),
        "PointRendSeg: .*4 for PointRendSeg and 5 for its segmentor",
    ),
    "unknown schedule": (lambda c, d: change(c, ("PolynomialDecay", "PolyDecay")), "PolyDecay"),
    "missing root": (lambda c, d: shutil.rmtree(d), "Dataset: there is not `dataset_root`"),
    "missing list": (lambda c, d: (d / "train.txt").unlink(), "Dataset: .*train.txt"),
    "empty list": (lambda c, d: (d / "train.txt").write_text(""), "number of samples in train_dataset is 0"),
    "missing image": (lambda c, d: (d / "images/train2.png").unlink(), "1 of 8 .*images/train2.png"),
    "broken image": (lambda c, d: (d / "images/train2.png").write_bytes(b"x"), "cannot read .*train2.png"),
    "labels": (
        lambda c, d: cv2.imwrite(str(d / "labels/train1.png"), np.full((64, 64), 7, np.uint8)),
        r"train1.png has labels \[7\], expected 0 to 3",
    ),
    "too few images": (lambda c, d: change(c, ("batch_size: 2", "batch_size: 5")), "more than the 4 images"),
}


@pytest.mark.parametrize("name", CONFIG_MISTAKES)
def test_train_refuses_a_mistake_in_config_or_data(pointrend_config, tiny_dataset, tmp_path, capsys, name):
    make_mistake, message = CONFIG_MISTAKES[name]
    make_mistake(pointrend_config, tiny_dataset)
    assert run("train", "--config", pointrend_config, "--save_dir", tmp_path / "out") == 2
    line = error_line(capsys)
    assert line.startswith("paddle-pointrend train: error: ")
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "none.yml"], "none.yml: there is no such file"),
        (["train", "--config", "{config}", "--opts", "iters"], "key=value"),
        (["train", "--config", "{config}", "--opts", "none.a=1"], "none.a"),
        (["train", "--config", "{config}", "--opts", "iters.a=1"], "error"),
        (["train", "--config", "{config}", "--save_dir", "{config}"], "cannot make this folder"),
        (["train", "--config", "{config}", "--opts", "batch_size=0"], "batch_size is 0"),
        (["train", "--config", "{config}", "--opts", "batch_size=x"], "batch_size is 'x', expected an integer"),
        (["train", "--config", "{config}", "--opts", "iters=0"], "iters is 0, expected an integer of at least 1"),
        (["val", "{trained}", "--opts", "iters=1.5"], "iters is 1.5"),
        (["train", "--config", "{config}", "--seed", "-1"], "--seed: must be at least 0"),
        (["train", "--config", "{config}", "--seed", "4294967296"], "--seed: must be at most"),
        (["train", "--config", "{config}", "--num_workers", "-1"], "--num_workers: must be at least 0"),
        (["demo", "--seed", "-1"], "--seed: must be at least 0"),
        (["demo", "--save_dir", "{config}"], "cannot make this folder"),
        (["val", "{trained}", "--num_workers", "-1"], "--num_workers: must be at least 0"),
        (["val", "{trained}", "--json", "/dev/null"], "not a regular file"),
        (["predict", "{trained}", "--image_path", "{image}", "--save_dir", "{config}"], "cannot make this folder"),
        (["train", "--config", "{config}", "--iters", "0"], "must be at least 1"),
        (["train", "--config", "{config}", "--iters", "many"], "--iters"),
        (["train", "--config", "{config}", "--device", "tpu"], "--device"),
        (["train", "--config", "{config}", "--device", "npu"], "--device npu"),
        (["train"], "--config"),
        (["train", "--config", "{config}", "--learning", "1"], "--learning"),
        (["trian"], "trian"),
        (["val", "--config", "{config}"], "--model_path is missing"),
        (["val", "--config", "{config}", "--model_path", "none.pdparams"], "none.pdparams: there is no such"),
        (["val", "{trained}", "--is_slide"], "--crop_size"),
        (["val", "{trained}", "--is_slide", "--crop_size", "8", "8", "--stride", "9", "8"], "gaps"),
        (["val", "{trained}", "--aug_eval", "--scales", "0"], "--scales"),
        (["val", "{trained}", "--json", "{root}"], "--json"),
        (["val", "{trained}", "--json", "{config}/m.json"], "--json"),
        (["val", "{trained}", "--opts", "val_dataset.val_path=none.txt"], "none.txt"),
        (["predict", "--config", "{config}", "--image_path", "{root}"], "--model_path is missing"),
        (["predict", "{trained}"], "--image_path"),
        (["predict", "{trained}", "--image_path", "none.png"], "none.png: there is no such file"),
        (["predict", "{trained}", "--image_path", "{root}/empty"], "no images"),
        (["predict", "{trained}", "--image_path", "{weights}"], "neither an image"),
        (["predict", "{trained}", "--image_path", "{root}", "--custom_color", "1", "2"], "three numbers"),
    ],
)
def test_refuses_mistaken_arguments_in_one_line(trained, capsys, arguments, message):
    (trained.root / "empty").mkdir(exist_ok=True)
    image = trained.root / "images/val0.png"
    names = {"config": trained.config, "image": image, "root": trained.root, "weights": trained.weights}
    weights = ["--config", str(trained.config), "--model_path", str(trained.weights)]
    expanded = [a for arg in arguments for a in (weights if arg == "{trained}" else [arg.format(**names)])]
    assert main(expanded) == 2
    assert message in error_line(capsys)


@needs_the_mended_profiler
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("batch_range=[2,1]", "--profiler_options batch_range is '[2,1]', expected [first,last]"),
        ("", "--profiler_options batch_range ends at 20, which takes 21 iterations, and the training has 2"),
        ("batch_range=[0,1]; profile_path={config}/trace", "--profiler_options profile_path: cannot write"),
    ],
)
def test_refuses_profiler_options_before_the_training(trained, tmp_path, capsys, options, message):
    options = options.format(config=trained.config)
    arguments = ["--config", trained.config, "--save_dir", tmp_path / "out", "--profiler_options", options]
    assert run("train", *arguments) == 2
    captured = capsys.readouterr()
    assert "[TRAIN]" not in captured.out
    assert message in captured.err.strip().splitlines()[-1]
    assert len(captured.err.strip().splitlines()) == 1


@needs_the_mended_profiler
def test_refuses_a_profile_longer_than_what_is_left_to_train(trained, resumable, capsys):
    # Of the 8 iterations the checkpoint has 4.
    arguments = ["--config", trained.config, "--save_dir", resumable, "--resume_model", "auto", "--iters", 8]
    assert run("train", *arguments, "--profiler_options", "batch_range=[1,4]") == 2
    assert "which takes 5 iterations, and the training has 4" in error_line(capsys)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle has GPUs")
def test_refuses_a_gpu_that_is_not_there(trained, capsys):
    assert run("val", "--config", trained.config, "--device", "gpu") == 2
    assert "--device gpu" in error_line(capsys)


def test_refuses_a_corrupt_checkpoint(trained, tmp_path, capsys):
    broken = tmp_path / "model.pdparams"
    for content in (b"", b"not a checkpoint", trained.weights.read_bytes()[:5000]):
        broken.write_bytes(content)
        assert run("val", "--config", trained.config, "--model_path", broken) == 2
        assert "model.pdparams cannot be read" in error_line(capsys)


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


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert "predict" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert paddle_pointrend.__version__ in capsys.readouterr().out
    assert main([]) == 2
    assert "train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "train",
            "config device save_dir num_workers do_eval use_vdl use_ema resume_model iters batch_size "
            "learning_rate save_interval log_iters keep_checkpoint_max seed precision amp_level "
            "profiler_options repeats opts to_static_training",
        ),
        (
            "val",
            "config model_path num_workers device aug_eval scales flip_horizontal flip_vertical is_slide "
            "crop_size stride opts json",
        ),
        (
            "predict",
            "config model_path image_path save_dir device aug_pred scales flip_horizontal flip_vertical "
            "is_slide crop_size stride custom_color opts runtime",
        ),
    ],
)
def test_flags_are_named_as_in_paddleseg(capsys, command, flags):
    assert main([command, "--help"]) == 0
    listed = set(re.findall(r"--(\w+)", capsys.readouterr().out))
    assert set(flags.split()) <= listed


# --------------------------------------------------------------------------------------- own processes


def start(command, **environment):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    for name in [name for name, value in environment.items() if value is None]:
        del environment[name]
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=300
    )


def test_module_sets_threads_and_exits_with_the_code(trained):
    command = ["-m", "paddle_pointrend", "val", "--device", "cpu", "--config", trained.config]
    done = start([*command, "--model_path", "none.pdparams"], OMP_NUM_THREADS=None, MKL_DEBUG_CPU_TYPE=None)
    assert done.returncode == 2
    assert "set before Paddle was imported: OMP_NUM_THREADS=" in done.stdout
    assert done.stderr.strip().splitlines()[-1].endswith("none.pdparams: there is no such file")


@needs_the_mended_profiler
@pytest.mark.parametrize("workers", [0, 2])
def test_training_ends_with_the_profile(pointrend_config, tmp_path, workers):
    path = tmp_path / "profile.json"
    options = f"batch_range=[1,3]; profile_path={path}"
    arguments = ["--config", pointrend_config, "--iters", 40, "--save_dir", tmp_path / "out", "--num_workers", workers]
    done = start(["-m", "paddle_pointrend", "train", *arguments, "--profiler_options", options], OMP_NUM_THREADS="1")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert re.search(r"^  Dataloader +\d+ ", done.stdout, re.MULTILINE)  # a row of the table
    assert done.stdout.splitlines()[-1].startswith("Profiled iterations 3 to 4 of this run.")
    assert json.loads(path.read_text())["traceEvents"]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_ends_at_an_image_that_breaks_on_the_way(pointrend_config, tiny_dataset, tmp_path, workers):
    # Past the first checks: the image is one of many.
    lines = (tiny_dataset / "train.txt").read_text().splitlines()
    (tiny_dataset / "images/last.png").write_bytes(b"not a picture")
    lines = lines * 8
    lines[1] = "images/last.png labels/train0.png"
    (tiny_dataset / "train.txt").write_text("\n".join(lines) + "\n")
    arguments = ["--config", pointrend_config, "--iters", 40, "--save_dir", tmp_path / "out", "--num_workers", workers]
    done = start(["-m", "paddle_pointrend", "train", *arguments], OMP_NUM_THREADS="1")
    assert done.returncode == 2
    message = f"paddle-pointrend train: error: cannot read {tiny_dataset / 'images/last.png'}"
    assert message in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert "SystemError" not in done.stderr


# A fault of the dataset's own code, past the checks of the first samples.
FAULT = """
import sys
import paddle
from paddleseg.datasets import Dataset
from paddle_pointrend.cli import main
read, begun = Dataset.__getitem__, []

def fail(self, index):
    if begun:
        raise ZeroDivisionError("a fault")
    return read(self, index)

Dataset.__getitem__ = fail
from paddleseg import core
original = core.train
core.train = lambda *args, **kwargs: (begun.append(1), original(*args, **kwargs))
main(sys.argv[1:])
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_training_ends_at_a_fault_of_the_dataset_with_its_traceback(pointrend_config, tmp_path, workers):
    (tmp_path / "fault.py").write_text(FAULT)
    arguments = ["--config", pointrend_config, "--save_dir", tmp_path / "out", "--num_workers", workers]
    done = start([tmp_path / "fault.py", "train", *arguments], OMP_NUM_THREADS="1")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "ZeroDivisionError: a fault"
    assert "SystemError" not in done.stderr


# Runs __main__.py by its path, as the launcher does, and keeps what each process ended with.
WORKER = """
import os, runpy, sys
import paddle
from paddle_pointrend.models import pointrend
from paddleseg import core

config, folder, main_file = sys.argv[1:]
kept = {"points": [], "start": {}, "end": {}}
sample, original = pointrend.sample_training_points, core.train

def spy_sample(*args, **kwargs):
    points = sample(*args, **kwargs)
    kept["points"].append(points.numpy())
    return points

def spy_train(model, *args, **kwargs):
    kept["start"] = {p.name: p.numpy() for p in model.parameters() if p.trainable}
    original(model, *args, **kwargs)
    kept["end"] = {p.name: p.numpy() for p in model.parameters() if p.trainable}

pointrend.sample_training_points, core.train = spy_sample, spy_train

def command(*arguments):
    sys.argv = [main_file, *arguments]
    try:
        runpy.run_path(main_file, run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, stop.code

command("train", "--config", config, "--iters", "3", "--batch_size", "1", "--log_iters", "1", "--seed", "1",
        "--save_dir", folder + "/output", "--do_eval")
paddle.save(kept, folder + "/rank" + os.environ["PADDLE_TRAINER_ID"])
command("val", "--config", config, "--model_path", folder + "/output/iter_3", "--json", folder + "/two.json")
"""


def test_two_processes_train_one_model(pointrend_config, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    main_file = REPOSITORY / "paddle_pointrend" / "__main__.py"
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", 2, "--backend", "gloo"]
    worker = [tmp_path / "worker.py", pointrend_config, tmp_path, main_file]
    done = start([*launcher, "--log_dir", tmp_path / "log", *worker], OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    logs = [(tmp_path / f"log/workerlog.{rank}").read_text() for rank in (0, 1)]
    assert [len(losses(log)) for log in logs] == [3, 0]
    first, second = (paddle.load(str(tmp_path / f"rank{rank}"), return_numpy=True) for rank in (0, 1))
    saved = paddle.load(str(tmp_path / "output/iter_3/model.pdparams"), return_numpy=True)
    assert saved.keys() >= {"point_head.predictor.weight"}
    for time in ("start", "end"):
        assert first[time].keys() == second[time].keys()
        assert all(np.array_equal(first[time][name], second[time][name]) for name in first[time])
    assert any(not np.array_equal(first["start"][name], first["end"][name]) for name in first["start"])
    # The last quarter is uniform: these depend on the process's seed alone, not on its images.
    assert not np.array_equal(first["points"][0][:, -8:], second["points"][0][:, -8:])
    # Each process counted its share of the three images; together they are what one process counts.
    assert re.search(r"evaluating: 100%.* 2/2 ", logs[0])
    arguments = ["--model_path", tmp_path / "output/iter_3", "--json", tmp_path / "one.json"]
    assert run("val", "--config", pointrend_config, *arguments) == 0
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one["predictions"] == two["predictions"]
