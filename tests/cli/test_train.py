"""`train`: what it writes and repeats, the mistakes it refuses, and how it ends at a broken sample."""

import json
import re
import shlex
import shutil

import cv2
import numpy as np
import paddle
import pytest
from command_line import error_line, losses, needs_the_patched_profiler, run, start

from paddle_pointrend.cli import main


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


def test_trains_as_a_static_graph(pointrend_config, tmp_path, capsys):
    logged = []
    for option in ([], ["--to_static_training"]):
        arguments = ["--save_dir", tmp_path / f"out{len(option)}", "--seed", 1, "--log_iters", 1, *option]
        assert run("train", "--config", pointrend_config, *arguments) == 0
        logged.append([float(loss) for loss in losses(capsys.readouterr().out)])
    eager, static = logged
    assert len(static) == 2
    np.testing.assert_allclose(static, eager, rtol=0.02)  # the graph draws other points


def test_a_training_that_diverges_ends_there(pointrend_config, tmp_path, capsys):
    arguments = ["--config", pointrend_config, "--save_dir", tmp_path / "out", "--seed", 1]
    assert run("train", *arguments, "--iters", 9, "--save_interval", 1, "--learning_rate", 1e20) == 2
    line = error_line(capsys)
    diverged = re.search(
        r"iteration (\d): the training has diverged, its loss is (nan|inf); lower the learning rate", line
    )
    assert diverged, line
    assert {path.name for path in (tmp_path / "out").glob("iter_*")} == {
        f"iter_{done}" for done in range(1, int(diverged[1]))
    }


@pytest.mark.parametrize("value", ["0", "nan", "-1", "inf"])
def test_refuses_a_learning_rate_that_teaches_nothing(pointrend_config, tmp_path, capsys, value):
    arguments = ["--config", pointrend_config, "--save_dir", tmp_path / "out", f"--learning_rate={value}"]
    assert run("train", *arguments) == 2
    assert f"must be above 0, got {value}" in error_line(capsys)


def test_refuses_training_images_that_size_divisor_does_not_divide(pointrend_config, capsys):
    arguments = ["--config", pointrend_config, "--save_dir", pointrend_config.parent / "output"]
    assert run("train", *arguments, "--opts", "model.size_divisor=48") == 2
    assert "size_divisor is 48, but the training images are [64, 64]; crop them" in error_line(capsys)


def test_refuses_loss_types_that_do_not_match_the_outputs(pointrend_config, capsys):
    text = pointrend_config.read_text()
    text = text.replace("    - type: CrossEntropyLoss\n", "").replace("[1, 1]", "[1]")
    pointrend_config.write_text(text)
    assert run("train", "--config", pointrend_config, "--save_dir", pointrend_config.parent / "out") == 2
    assert "2 != 1" in capsys.readouterr().err


@needs_the_patched_profiler
def test_profiles_and_trains_on(pointrend_config, tmp_path, capsys):
    arguments = ["--config", pointrend_config, "--save_dir", tmp_path / "out", "--iters", 4]
    for name in ("first.json", "second.json"):  # a process's second training is profiled too
        options = f"batch_range=[1,2]; exit_on_finished=false; profile_path={tmp_path / name}"
        assert run("train", *arguments, "--profiler_options", options) == 0
        printed = capsys.readouterr().out
        assert "Profiled iterations 3 to 3" in printed
        assert "The weights are in" in printed
        assert json.loads((tmp_path / name).read_text())["traceEvents"]


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
    "missing root": (lambda c, d: shutil.rmtree(d), "its dataset_root; docs/data.md says where data comes from"),
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


@needs_the_patched_profiler
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


@needs_the_patched_profiler
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
    broken = tiny_dataset / "images/last.png"
    message = f"paddle-pointrend train: error: cannot read {broken}: not an image that OpenCV or Pillow can read"
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
