"""Data that people have: labels of every depth, sizes that differ, lists with marks and blanks, masks of 0 and 255."""

import re
import shutil

import cv2
import numpy as np
import pytest
from command_line import error_line, losses, run, start
from PIL import Image

EXIF_ORIENTATION = 0x0112


def train(config, save_dir, *arguments):
    return run("train", "--config", config, "--save_dir", save_dir, "--seed", 1, "--log_iters", 1, *arguments)


def rewrite_labels(root, change):
    """change(label) in the place of every label, saved as the same PNG."""
    for path in (root / "labels").iterdir():
        Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


def test_labels_of_16_bits_train_and_evaluate_as_of_8(pointrend_config, tiny_dataset, tmp_path, capsys):
    printed = []
    for depth in ("uint8", "uint16"):
        rewrite_labels(tiny_dataset, lambda label, depth=depth: label.astype(depth))
        assert train(pointrend_config, tmp_path / depth, "--do_eval") == 0
        printed.append(capsys.readouterr().out)
    assert "I;16" in Image.open(tiny_dataset / "labels/train0.png").mode
    assert losses(printed[0]) == losses(printed[1])
    assert len(losses(printed[0])) == 2
    scores = [re.findall(r"mIoU: ([0-9.]+)", text) for text in printed]
    assert scores[0] == scores[1] != []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label: np.stack([label] * 3, axis=2), r"labels/\w+.png holds colours \(RGB\), expected one channel"),
        (lambda label: label.repeat(2, axis=0), r"labels/\w+.png is 64x128, its image .*images/\w+.png 64x64"),
        (lambda label: label.astype("uint16") + 1000, r"has labels \[1000, 1001, 1002, 1003, 1255\], expected 0 to 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_the_training(
    pointrend_config, tiny_dataset, tmp_path, capsys, change, message
):
    rewrite_labels(tiny_dataset, change)
    assert train(pointrend_config, tmp_path / "out") == 2
    captured = capsys.readouterr()
    assert "[TRAIN]" not in captured.out
    assert re.search(message, captured.err), captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_floating_point_labels_are_refused(pointrend_config, tiny_dataset, tmp_path, capsys):
    label = np.asarray(Image.open(tiny_dataset / "labels/train0.png")).astype("float32")
    Image.fromarray(label).save(tiny_dataset / "labels/train0.tif")
    (tiny_dataset / "train.txt").write_text("images/train0.png labels/train0.tif\n" * 2)
    assert train(pointrend_config, tmp_path / "out") == 2
    assert "train0.tif holds fractions (32-bit floats), expected class ids" in error_line(capsys)


def test_a_photograph_that_is_turned_but_not_its_label(pointrend_config, tiny_dataset, tmp_path, capsys):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    picture = np.random.randint(0, 255, (48, 64, 3), "uint8")
    Image.fromarray(picture).save(tiny_dataset / "images/turned.jpg", exif=exif)
    Image.fromarray(np.zeros((48, 64), "uint8")).save(tiny_dataset / "labels/turned.png")
    (tiny_dataset / "train.txt").write_text("images/turned.jpg labels/turned.png\n" * 2)
    assert train(pointrend_config, tmp_path / "out") == 2
    line = error_line(capsys)
    assert "turned.png is 64x48, its image" in line
    assert "turned.jpg 48x64; the photograph has an EXIF orientation, which is obeyed: turn the label too" in line


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_make_no_batch_end_the_run(pointrend_config, tiny_dataset, tmp_path, workers):
    lines = (tiny_dataset / "train.txt").read_text().splitlines() * 8  # more than the first checks look at
    cv2.imwrite(str(tiny_dataset / "images/wide.png"), np.zeros((64, 80, 3), "uint8"))
    cv2.imwrite(str(tiny_dataset / "labels/wide.png"), np.zeros((64, 80), "uint8"))
    lines[1] = "images/wide.png labels/wide.png"
    (tiny_dataset / "train.txt").write_text("\n".join(lines))
    arguments = ["--config", pointrend_config, "--iters", 40, "--save_dir", tmp_path / "out", "--num_workers", workers]
    done = start(["-m", "paddle_pointrend", "train", *arguments], OMP_NUM_THREADS="1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    message = [line for line in done.stderr.splitlines() if line.startswith("paddle-pointrend train: error")]
    assert len(message) == 1
    assert "wide.png is [3, 64, 80] with a label [64, 80]" in message[0]
    assert "a batch takes one size; crop or resize them, or set batch_size: 1" in message[0]


def test_masks_of_0_and_255_with_two_classes_are_pointed_out(pointrend_config, tiny_dataset, tmp_path, capsys):
    pointrend_config.write_text(pointrend_config.read_text().replace("num_classes: 4", "num_classes: 2"))
    rewrite_labels(tiny_dataset, lambda label: ((label == 1) * 255).astype("uint8"))
    assert train(pointrend_config, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "train_dataset: class 1 occurs in none of the 4 labels looked at, but 255 does, which is ignored" in printed


def test_a_crops_padding_is_no_value_of_the_labels(pointrend_config, tiny_dataset, tmp_path, capsys):
    rewrite_labels(tiny_dataset, lambda label: np.where(label == 255, 0, label).astype("uint8"))
    text = pointrend_config.read_text().replace("num_classes: 4", "num_classes: 9")
    crop = "  transforms:\n    - {type: RandomPaddingCrop, crop_size: [80, 80]}\n"
    pointrend_config.write_text(text.replace("  transforms:\n", crop, 1))
    assert train(pointrend_config, tmp_path / "out") == 0
    assert "labels looked at" not in capsys.readouterr().out


def test_padding_that_is_not_ignored_is_named(pointrend_config, tiny_dataset, tmp_path, capsys):
    rewrite_labels(tiny_dataset, lambda label: np.where(label == 255, 0, label).astype("uint8"))
    crop = "  ignore_index: 9\n  transforms:\n    - {type: RandomPaddingCrop, crop_size: [80, 80]%s}\n"
    text = pointrend_config.read_text()
    pointrend_config.write_text(text.replace("  transforms:\n", crop % "", 1))
    assert train(pointrend_config, tmp_path / "out") == 2
    line = error_line(capsys)
    assert "the transforms fill its label up with 255, but ignore_index is 9; set label_padding_value: 9" in line
    pointrend_config.write_text(text.replace("  transforms:\n", crop % ", label_padding_value: 9", 1))
    assert train(pointrend_config, tmp_path / "out") == 0


@pytest.mark.parametrize("command", ["train", "val"])
def test_one_class_is_refused(pointrend_config, tmp_path, capsys, command):
    pointrend_config.write_text(pointrend_config.read_text().replace("num_classes: 4", "num_classes: 1"))
    if command == "train":
        assert train(pointrend_config, tmp_path / "out") == 2
    else:
        (tmp_path / "weights").mkdir()
        assert run("val", "--config", pointrend_config, "--model_path", tmp_path / "weights") == 2
        return
    assert "train_dataset: num_classes is 1, which leaves nothing to tell apart" in error_line(capsys)


def test_a_list_with_a_mark_tabs_and_blank_lines(pointrend_config, tiny_dataset, tmp_path, capsys):
    assert train(pointrend_config, tmp_path / "plain") == 0
    expected = losses(capsys.readouterr().out)
    lines = [line.replace(" ", "\t") for line in (tiny_dataset / "train.txt").read_text().splitlines()]
    (tiny_dataset / "train.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode() + b"\r\n\r\n")
    assert train(pointrend_config, tmp_path / "marked") == 0
    assert losses(capsys.readouterr().out) == expected
    (tiny_dataset / "train.txt").write_text("images/train0.png labels/train0.png\nimages/train1.png\n")
    assert train(pointrend_config, tmp_path / "out") == 2
    assert "train.txt, line 2: 1 column, expected two, an image and its label" in error_line(capsys)


def test_names_with_blanks_in_a_list_with_a_separator(pointrend_config, tiny_dataset, tmp_path, capsys):
    for folder in ("images", "labels"):
        (tiny_dataset / folder / "train0.png").rename(tiny_dataset / folder / "street 1.png")
    (tiny_dataset / "train.txt").write_text("images/street 1.png,labels/street 1.png\n" * 2)
    text = pointrend_config.read_text().replace("  mode: train", "  mode: train\n  separator: ','")
    pointrend_config.write_text(text)
    assert train(pointrend_config, tmp_path / "out") == 0
    assert len(losses(capsys.readouterr().out)) == 2


class TestCheckData:
    """20 images, of which train looks at 8: number 1 is not among them."""

    @pytest.fixture
    def many(self, tiny_dataset):
        for folder in ("images", "labels"):
            for i in range(20):
                shutil.copy(tiny_dataset / folder / "train0.png", tiny_dataset / folder / f"many{i}.png")
        for part in ("train", "val"):
            (tiny_dataset / f"{part}.txt").write_text(
                "".join(f"images/many{i}.png labels/many{i}.png\n" for i in range(20))
            )
        return tiny_dataset

    def test_a_wrong_label_that_no_crop_need_show(self, many, pointrend_config, tmp_path, capsys):
        text = pointrend_config.read_text()
        crop = "- {type: RandomPaddingCrop, crop_size: [32, 32]}\n    - type: RandomHorizontalFlip"
        pointrend_config.write_text(text.replace("- type: RandomHorizontalFlip", crop))
        label = np.asarray(Image.open(many / "labels/many1.png")).copy()
        label[-1, -1] = 77
        Image.fromarray(label).save(many / "labels/many1.png")
        assert train(pointrend_config, tmp_path / "out", "--check_data") == 2
        captured = capsys.readouterr()
        assert "[TRAIN]" not in captured.out
        assert "train_dataset: " in captured.err and "labels/many1.png has labels [77]" in captured.err

    @pytest.mark.parametrize("command", ["train", "val"])
    def test_an_image_that_ends_too_early(self, many, trained, tmp_path, capsys, command):
        image = cv2.imread(str(many / "images/many1.png"))
        cv2.imwrite(str(many / "images/many1.jpg"), image)
        content = (many / "images/many1.jpg").read_bytes()
        for part in ("train", "val"):
            file = many / f"{part}.txt"
            file.write_text(file.read_text().replace("images/many1.png", "images/many1.jpg"))
        data = [
            f"{part}_dataset.{key}={value}"
            for part in ("train", "val")
            for key, value in (("dataset_root", many), (f"{part}_path", many / f"{part}.txt"))
        ]
        where = (
            ["--model_path", trained.weights] if command == "val" else ["--save_dir", tmp_path / "out", "--iters", 1]
        )
        arguments = [command, "--config", trained.config, *where, "--check_data", "--opts", *data]
        assert run(*arguments) == 0
        assert "checked all 20 samples" in capsys.readouterr().out
        (many / "images/many1.jpg").write_bytes(content[: len(content) // 2])
        assert run(*arguments) == 2
        assert "images/many1.jpg" in capsys.readouterr().err
