"""`predict`: images, folders and lists in eager Paddle; test_cli_predict.py has the other runtimes."""

import shutil

import cv2
import numpy as np
import paddle
import pytest
from command_line import error_line, outputs, run
from paddleseg.cvlibs import Config, SegBuilder
from PIL import Image

from paddle_pointrend import Predictor


def predict(trained, image_path, save_dir, *arguments):
    arguments = ["--image_path", image_path, "--save_dir", save_dir, *arguments]
    return run("predict", "--config", trained.config, "--model_path", trained.weights, *arguments)


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


@pytest.mark.parametrize("save_dir", ["in", "in/results"])
def test_predict_does_not_take_its_own_results(trained, tmp_path, capsys, save_dir):
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        shutil.copy(trained.root / "images/val0.png", tmp_path / "in" / name)
    for _ in range(2):
        assert predict(trained, tmp_path / "in", tmp_path / save_dir) == 0
    parts = ("added_prediction", "pseudo_color_prediction")
    written = {f"{part}/{name}" for part in parts for name in ("a.png", "deep/b.png")}
    assert outputs(tmp_path / save_dir) - {"a.png", "deep/b.png"} == written
    assert f"4 earlier results in {tmp_path / save_dir} are not predicted" in capsys.readouterr().out
    for name in ("a.png", "deep/b.png"):
        (tmp_path / "in" / name).unlink()
    assert predict(trained, tmp_path / "in", tmp_path / save_dir) == 2
    assert "there are no images in it but earlier results of --save_dir" in error_line(capsys)
    assert predict(trained, tmp_path / save_dir / "added_prediction", tmp_path / "out") == 0
    assert outputs(tmp_path / "out/added_prediction") == {"a.png", "deep/b.png"}


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


def test_predict_skips_an_image_above_opencvs_limit_and_writes_unknown_kinds_as_png(trained, tmp_path, monkeypatch):
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
    folders = ("added_prediction", "pseudo_color_prediction")
    assert outputs(tmp_path / "out") == {f"{folder}/{name}.png" for folder in folders for name in ("good", "b")}


@pytest.mark.parametrize(
    ("format", "suffix"), [("GIF", ".png"), ("AVIF", ".png"), ("WEBP", ".webp"), ("TIFF", ".tiff")]
)
def test_predict_takes_every_format_in_a_folder(trained, tmp_path, format, suffix):
    (tmp_path / "images").mkdir()
    pixels = np.asarray(Image.open(trained.root / "images/val0.png"))
    Image.fromarray(pixels).save(tmp_path / f"images/street.{format.lower()}", format=format)
    assert predict(trained, tmp_path / "images", tmp_path / "out") == 0
    expected = {f"added_prediction/street{suffix}", "pseudo_color_prediction/street.png"}
    assert outputs(tmp_path / "out") == expected


def test_predict_goes_on_where_the_network_fails_on_an_image(trained, tmp_path, capsys, monkeypatch):
    original, calls = Predictor.predict, []

    def fail_once(self, pixels, **options):
        calls.append(pixels)
        if len(calls) == 2:
            raise RuntimeError("out of\nmemory")
        return original(self, pixels, **options)

    monkeypatch.setattr(Predictor, "predict", fail_once)
    images = [trained.root / f"images/val{i}.png" for i in range(3)]
    (tmp_path / "list.txt").write_text("".join(f"{image}\n" for image in images))
    assert predict(trained, tmp_path / "list.txt", tmp_path / "out") == 1
    assert f"skipped {images[1]}: the network fails on it: out of memory" in capsys.readouterr().out
    assert len(outputs(tmp_path / "out")) == 4


def test_predict_takes_names_with_blanks_from_a_list(trained, tmp_path):
    shutil.copy(trained.root / "images/val0.png", tmp_path / "street 1.png")
    (tmp_path / "list.txt").write_text("\ufeffstreet 1.png\n\n", encoding="utf-8")
    assert predict(trained, tmp_path / "list.txt", tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == {"added_prediction/street 1.png", "pseudo_color_prediction/street 1.png"}


def test_predict_takes_a_small_tiff_of_one_band_whole(trained, tmp_path):
    Image.open(trained.root / "images/val0.png").convert("L").save(tmp_path / "grey.tif")
    assert predict(trained, tmp_path / "grey.tif", tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == {"added_prediction/grey.tif", "pseudo_color_prediction/grey.png"}


def test_predict_says_which_file_it_cannot_write(trained, tmp_path, capsys):
    (tmp_path / "added_prediction").write_text("a file")
    assert predict(trained, trained.root / "images/val0.png", tmp_path) == 2
    assert "cannot write" in capsys.readouterr().err.splitlines()[-1]


def test_predict_with_augmentation_and_window(trained, tmp_path):
    flags = ["--aug_pred", "--scales", 0.5, 1, "--flip_horizontal"]
    flags += ["--is_slide", "--crop_size", 32, 32, "--stride", 32, 32]
    assert predict(trained, trained.root / "images/val0.png", tmp_path, *flags) == 0
    assert np.asarray(Image.open(tmp_path / "pseudo_color_prediction/val0.png")).shape == (64, 64)
