"""train, val and predict of networks of instances."""

import json
import os
import pathlib
import shutil
import signal
import types

import cv2
import numpy as np
import paddle
import pytest
from coco_files import write_coco
from command_line import error_line, losses, outputs, run
from tiny_instances import write_instance_config
from visualdl import LogReader

from paddle_pointrend import Predictor, evaluate
from paddle_pointrend.data.masks import decode_mask
from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg import instance_training, load_config, train_instances, train_model
from paddle_pointrend.run_state import LOCK

LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask", "loss_mask_point"}


def _train(config, save_dir, *arguments):
    options = ["--log_iters", 1, "--save_interval", 2, "--seed", 3, *arguments]
    return run("train", "--config", config, "--save_dir", save_dir, "--device", "cpu", *options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config and a network trained for 4 iterations, with checkpoints at 2 and 4, curves and best_model."""
    folder = tmp_path_factory.mktemp("instances")
    case = types.SimpleNamespace(config=write_instance_config(folder), save_dir=folder / "output", folder=folder)
    assert _train(case.config, case.save_dir, "--do_eval", "--use_vdl") == 0
    case.weights = case.save_dir / "iter_4/model.pdparams"
    yield case
    shutil.rmtree(folder)  # of hundreds of MB


def _state(folder):
    folder = pathlib.Path(folder)
    states = [paddle.load(str(folder / name), return_numpy=True) for name in ("model.pdparams", "model.pdopt")]
    return {key: value for state in states for key, value in state.items()}


def _assert_same(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, dict):
            assert value == second[key]
        else:
            np.testing.assert_array_equal(value, second[key], err_msg=key)


def test_training_writes_checkpoints_the_best_and_curves(trained):
    files = outputs(trained.save_dir)
    checkpoints = {f"iter_{i}/{name}" for i in (2, 4) for name in ("model.pdparams", "model.pdopt", "run.json")}
    assert checkpoints | {"best_model/model.pdparams", "best_model/score.json"} <= files
    (curves,) = (file for file in files if file.startswith("vdlrecords"))
    reader = LogReader(file_path=str(trained.save_dir / curves))
    tags = {f"Train/{name}" for name in ("loss", "lr", "batch_cost", "reader_cost", *LOSSES)}
    tags |= {f"Evaluate/{kind}_ap" for kind in ("box", "mask", "boundary")}
    assert tags == set(reader.get_tags()["scalar"])
    rates = [point.value for point in reader.get_data("scalar", "Train/lr")]
    np.testing.assert_allclose(rates, [0.001, 0.01, 0.01, 0.001], rtol=1e-5)  # warm-up, then the milestone after it
    score = json.loads((trained.save_dir / "best_model/score.json").read_text())
    assert score["iteration"] in (2, 4)
    assert set(score) == {"box_ap", "mask_ap", "boundary_ap", "iteration"}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_is_the_uninterrupted_one(trained, tmp_path, capsys, workers):
    shutil.copytree(trained.save_dir / "iter_2", tmp_path / "iter_2")
    assert _train(trained.config, tmp_path, "--resume_model", "auto", "--num_workers", workers, "--seed", 4) == 0
    output = capsys.readouterr().out
    assert "iter: 3/4" in output
    assert "iter: 2/4" not in output
    _assert_same(_state(tmp_path / "iter_4"), _state(trained.save_dir / "iter_4"))


def test_a_signal_saves_and_the_resumed_training_is_the_uninterrupted_one(trained, tmp_path, monkeypatch, capsys):
    seed_computation = instance_training.seed_computation

    def stop_at_the_third(seed, rank, iteration):
        seed_computation(seed, rank, iteration)
        if iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(instance_training, "seed_computation", stop_at_the_third)
    assert _train(trained.config, tmp_path) == 128 + signal.SIGTERM
    assert {path.name for path in tmp_path.glob("iter_*")} == {"iter_2", "iter_3"}
    assert "Stopped by a signal after iteration 3" in capsys.readouterr().out
    monkeypatch.undo()
    assert _train(trained.config, tmp_path, "--resume_model", "auto") == 0
    _assert_same(_state(tmp_path / "iter_4"), _state(trained.save_dir / "iter_4"))


def test_the_folder_is_locked_while_it_trains(trained, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(instance_training, "seed_computation", lambda *_: seen.append((tmp_path / LOCK).exists()))
    assert _train(trained.config, tmp_path, "--iters", 1) == 0
    assert seen == [True]
    assert not (tmp_path / LOCK).exists()


def test_a_finished_training_has_nothing_to_do(trained, capsys):
    before = trained.weights.read_bytes()
    assert _train(trained.config, trained.save_dir, "--resume_model", "auto") == 0
    assert "nothing to train" in capsys.readouterr().out
    assert trained.weights.read_bytes() == before


def test_seeds_make_the_training(trained, tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert _train(trained.config, tmp_path / name, "--seed", seed, "--iters", 1) == 0
    first, second, other = ([loss] for loss in losses(capsys.readouterr().out))
    assert first == second
    assert first != other


def test_keep_checkpoint_max(trained, tmp_path):
    assert _train(trained.config, tmp_path, "--save_interval", 1, "--keep_checkpoint_max", 2, "--iters", 3) == 0
    assert {path.name for path in tmp_path.glob("iter_*")} == {"iter_2", "iter_3"}


def test_val_shows_coarse_and_refined(trained, capsys, tmp_path):
    arguments = ["--config", trained.config, "--model_path", trained.weights, "--json", tmp_path / "ap.json"]
    assert run("val", *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split() == ["coarse", "refined", "difference"])
    assert [line.split()[0] for line in lines[start + 2 : start + 5]] == ["box", "mask", "boundary"]
    assert any(line.startswith("boundary AP: person") for line in lines)
    report = json.loads((tmp_path / "ap.json").read_text())
    assert report["images"] == 3
    assert report["classes"] == ["person", "car"]
    assert set(report["predictions"]) == {"coarse", "refined"}
    assert set(report["predictions"]["refined"]) == {"box", "mask", "boundary"}


def test_val_writes_a_report(trained, tmp_path, capsys):
    arguments = ["--config", trained.config, "--model_path", trained.weights, "--json", tmp_path / "ap.json"]
    assert run("val", *arguments, "--report", tmp_path / "deep/report", "--report_images", 1) == 0
    folder = tmp_path / "deep/report"
    assert {path.name for path in folder.iterdir()} == {"report.html", "metrics.json"}
    assert (folder / "metrics.json").read_text() == (tmp_path / "ap.json").read_text()
    page = (folder / "report.html").read_text()
    for words in ("<h1>config</h1>", "mask AP", "loss mask_point", "mask AP on the val images, refined", "objects, "):
        assert words in page
    assert 1 <= page.count("<article>") <= 2
    assert run("compare", folder / "metrics.json", tmp_path / "ap.json") == 0
    assert any(line.startswith("boundary AP: car") for line in capsys.readouterr().out.splitlines())


def test_the_doors_for_notebooks(trained, tmp_path):
    arguments = ["--config", trained.config, "--model_path", trained.weights, "--json", tmp_path / "ap.json"]
    assert run("val", *arguments) == 0
    measured = evaluate(trained.config, trained.weights, progress=False)
    assert measured == json.loads((tmp_path / "ap.json").read_text())["predictions"]
    config = load_config(trained.config, iters=1)
    last = train_instances(config, tmp_path, seed=3)
    assert (last / "model.pdparams").is_file()
    for door in (lambda: train_model(config, tmp_path), lambda: Predictor.from_config(config, trained.weights)):
        with pytest.raises(UsageError, match="finds instances"):
            door()


def test_a_standard_mask_head_has_one_prediction(tmp_path, capsys):
    config = write_instance_config(tmp_path, "Standard")
    assert _train(config, tmp_path / "output", "--iters", 1) == 0
    report = tmp_path / "report"
    assert run("val", "--config", config, "--model_path", tmp_path / "output/iter_1", "--report", report) == 0
    assert "there is no coarse one to compare it with" in (report / "report.html").read_text()
    assert any(line.split() == ["prediction"] for line in capsys.readouterr().out.splitlines())


def test_predict_writes_cocos_results_and_pictures(trained, tmp_path):
    images = trained.folder / "data/images"
    arguments = ["--config", trained.config, "--model_path", trained.weights, "--image_path", images]
    assert run("predict", *arguments, "--save_dir", tmp_path) == 0
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert results
    ids = {"a.png": 1, "b.png": 2, "empty.png": 3}
    for result in results:
        assert set(result) == {"image_id", "file_name", "category_id", "bbox", "score", "segmentation"}
        assert ids[result["file_name"]] == result["image_id"]
        assert result["category_id"] in (3, 7)
        height, width = cv2.imread(str(images / result["file_name"])).shape[:2]
        x, y, w, h = result["bbox"]
        assert 0 <= x < x + w <= width + 1e-4 and 0 <= y < y + h <= height + 1e-4
        mask = decode_mask(result["segmentation"], height, width)
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert rows.min() >= y - 1 and rows.max() <= y + h + 1 and columns.min() >= x - 1
    for image_id in ids.values():
        scores = [result["score"] for result in results if result["image_id"] == image_id]
        assert scores == sorted(scores, reverse=True)
    assert {file.name for file in (tmp_path / "added_prediction").iterdir()} == set(ids)


def test_predict_needs_no_annotations_and_skips_what_is_broken(trained, tmp_path, capsys):
    folder = tmp_path / "pictures/inner"
    folder.mkdir(parents=True)
    shutil.copy(trained.folder / "data/images/a.png", folder / "a.png")
    (folder / "broken.jpg").write_text("no picture")
    opts = ["--opts", f"val_dataset.dataset_root={tmp_path / 'nowhere'}"]
    arguments = ["--config", trained.config, "--model_path", trained.weights, "--image_path", tmp_path / "pictures"]
    assert run("predict", *arguments, "--save_dir", tmp_path / "out", *opts) == 1
    results = json.loads((tmp_path / "out/predictions.json").read_text())
    assert {(result["image_id"], result["file_name"]) for result in results} == {(1, "inner/a.png")}
    assert {result["category_id"] for result in results} <= {1, 2}
    assert "1 of 2 images were skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("train", ["--use_ema"], "--use_ema is for networks of labels"),
        ("train", ["--precision", "fp16"], "--precision is for networks of labels"),
        ("train", ["--amp_level", "O2"], "--amp_level is for networks of labels"),
        ("train", ["--opts", "model.num_classes=5", "model.mask_head.num_classes=5"], "has 2 categories (person, car)"),
        ("train", ["--opts", "train_dataset.images=none"], "3 of 3 images do not exist"),
        ("train", ["--learning_rate", "1e9"], "diverged"),
        ("val", ["--aug_eval"], "--aug_eval is for networks of labels"),
        ("val", ["--scales", "0.5", "2"], "--scales is for networks of labels"),
        ("val", ["--flip_horizontal"], "--flip_horizontal is for networks of labels"),
        ("val", ["--flip_vertical"], "--flip_vertical is for networks of labels"),
        ("val", ["--crop_size", "9", "9"], "--crop_size is for networks of labels"),
        ("val", ["--stride", "9", "9"], "--stride is for networks of labels"),
        ("val", ["--num_workers", "8"], "--num_workers is for networks of labels"),
        ("val", ["--model_path", "none.pdparams"], "no such file"),
        ("predict", ["--is_slide", "--image_path", "a.png"], "--is_slide is for networks of labels"),
        ("predict", ["--scales", "2", "--image_path", "a.png"], "--scales is for networks of labels"),
        ("predict", ["--flip_vertical", "--image_path", "a.png"], "--flip_vertical is for networks of labels"),
        ("predict", ["--stride", "9", "9", "--image_path", "a.png"], "--stride is for networks of labels"),
        ("predict", ["--image_path", "{images}", "--opts", "val_dataset.side=3"], "unexpected keyword argument 'side'"),
        ("predict", ["--image_path", "{images}", "--opts", "val_dataset.type=Dataset"], "val_dataset"),
        ("predict", ["--image_path", "nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, capsys, command, arguments, words):
    capsys.readouterr()
    arguments = [argument.format(images=trained.folder / "data/images") for argument in arguments]
    weights = [] if command == "train" or "--model_path" in arguments else ["--model_path", trained.weights]
    save = [] if command == "val" else ["--save_dir", tmp_path / "out"]
    assert run(command, "--config", trained.config, *weights, *save, *arguments) == 2
    assert words in error_line(capsys)
    assert not (tmp_path / "out").exists() or not outputs(tmp_path / "out")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_ends_the_training_in_one_line(tmp_path, capsys, workers):
    config = write_instance_config(tmp_path)

    def spoil(content):
        content["annotations"][0]["segmentation"] = {"size": [5, 5], "counts": [25]}

    write_coco(tmp_path / "data", spoil)
    assert _train(config, tmp_path / "output", "--num_workers", workers) == 2
    assert "annotation 10: its run lengths are of size [5, 5]" in error_line(capsys)


def test_nothing_to_train_on_is_said(tmp_path, capsys):
    config = write_instance_config(tmp_path, change=lambda content: content["annotations"].clear())
    assert _train(config, tmp_path / "output") == 2
    assert "keep_empty: true" in error_line(capsys)
    assert _train(config, tmp_path / "output", "--iters", 1, "--opts", "train_dataset.keep_empty=True") == 0
