import cv2
import numpy as np
import pytest
from PIL import Image

from paddle_pointrend.data.images import ImageError, count_pixels, find_images, is_tiff, read_image


@pytest.fixture
def folder(tmp_path):
    """Images in a folder and below, and what is none."""
    for name in ("b.png", "a.JPG", "deep/c.bmp", ".hidden.png", "d.tif", ".ipynb_checkpoints/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), np.full((3, 4, 3), 200, np.uint8))
    (tmp_path / "notes.md").write_text("no image")
    return tmp_path


def test_finds_the_images_of_a_folder(folder):
    assert find_images(folder) == ([str(folder / name) for name in ("a.JPG", "b.png", "deep/c.bmp")], str(folder))


@pytest.mark.parametrize("name", ["a.JPG", "d.tif"])
def test_finds_one_image(folder, name):
    assert find_images(folder / name) == ([str(folder / name)], None)


def test_finds_what_a_list_names_each_once_and_in_its_order(folder):
    (folder / "list.txt").write_text(f"deep/c.bmp labels/c.png\n\n{folder / 'b.png'}\ndeep/c.bmp\nnone.png\ndeep\n")
    names = ("deep/c.bmp", "b.png", "none.png")
    assert find_images(folder / "list.txt") == ([str(folder / name) for name in names], str(folder))


def test_says_what_is_wrong_with_a_path(folder):
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("\n")
    (folder / "data.bin").write_bytes(b"\xff\xfe\x00\x80")
    for name, message in (
        ("none", "there is no such file or folder"),
        ("empty", "there are no images in it"),
        ("empty.txt", "there are no images in it"),
        ("data.bin", "neither an image .* nor a text file listing images"),
    ):
        with pytest.raises(ImageError, match=f"{folder / name}: {message}"):
            find_images(folder / name)


def test_reads_rgb_and_grey(tmp_path):
    pixels = np.random.randint(0, 256, (5, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgb.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "rgb.png"), pixels)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(pixels[..., :1], 3, axis=2))
    assert np.array_equal(read_image(tmp_path / "grey.png", channels=1), pixels[..., 0])
    assert read_image(tmp_path / "rgb.png", channels=1).shape == (5, 4)


def test_says_why_an_image_cannot_be_read(tmp_path):
    Image.fromarray(np.random.randint(0, 256, (40, 40, 3)).astype(np.uint8)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "short.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("no image")
    for name, message in (
        ("none.png", "no such file"),
        ("text.png", "not an image"),
        ("short.jpg", "truncated"),
    ):
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name)


def test_counts_pixels_without_reading_them(folder):
    assert count_pixels(folder / "b.png") == 12
    assert count_pixels(folder / "notes.md") == count_pixels(folder / "none.png") == 0
    assert is_tiff("a.TIFF") and is_tiff("a.tif") and not is_tiff("a.png")
