import pathlib

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
    assert find_images(folder) == (
        [str(folder / name) for name in ("a.JPG", "b.png", "d.tif", "deep/c.bmp")],
        str(folder),
    )


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
        ("data.bin", "neither an image .* nor a list of images: .*data.bin, line 1: not UTF-8"),
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


def test_names_with_blanks_and_separators_in_a_list(folder):
    (folder / "street 1.png").write_bytes((folder / "b.png").read_bytes())
    (folder / "list.txt").write_bytes("\ufeffstreet 1.png\n\nb.png  labels/b.png\n".encode())
    assert find_images(folder / "list.txt")[0] == [str(folder / "street 1.png"), str(folder / "b.png")]
    (folder / "list.txt").write_text("street 1.png,labels/b.png\n")
    assert find_images(folder / "list.txt", ",")[0] == [str(folder / "street 1.png")]


@pytest.mark.parametrize(("largest", "shift"), [(65535, 8), (4095, 4)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_and_twelve_in_them(tmp_path, suffix, largest, shift):
    pixels = np.linspace(0, largest, 20).astype(np.uint16).reshape(4, 5)
    assert cv2.imwrite(str(tmp_path / f"deep{suffix}"), pixels)
    expected = (pixels >> shift).astype(np.uint8)
    assert np.array_equal(read_image(tmp_path / f"deep{suffix}", channels=1), expected)
    assert np.array_equal(read_image(tmp_path / f"deep{suffix}"), np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("largest", [1, 255])
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3)])
def test_floating_point_is_read_from_0_to_1_and_to_255(tmp_path, shape, largest):
    pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    pixels[0, 0] = 255
    cv2.imwrite(str(tmp_path / "image.png"), pixels)
    uncompressed = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    cv2.imwrite(str(tmp_path / "image.tif"), (pixels / 255 * largest).astype(np.float32), uncompressed)
    assert np.array_equal(read_image(tmp_path / "image.tif"), read_image(tmp_path / "image.png"))
    if len(shape) == 2:
        assert np.array_equal(read_image(tmp_path / "image.tif", channels=1), pixels)


def test_other_floating_point_is_stretched_and_nan_refused(tmp_path):
    path = str(tmp_path / "image.tif")
    cv2.imwrite(path, np.array([[-2, 0, 3]], np.float32))
    assert read_image(path, channels=1).tolist() == [[0, 102, 255]]
    for value in (np.nan, np.inf):
        cv2.imwrite(path, np.array([[0, 0.25, value]], np.float32))
        with pytest.raises(ImageError, match="no finite numbers; save it with 8 or 16 bits"):
            read_image(path)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "AVIF", "MPO", "JPEG2000"])
def test_formats_are_told_by_their_content(tmp_path, format):
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, 12:] = (250, 120, 10)
    frames = [Image.fromarray(pixels), Image.fromarray(pixels[:, ::-1])]
    options = {"save_all": True, "append_images": frames[1:]} if format in ("GIF", "WEBP", "MPO") else {}
    frames[0].save(tmp_path / "picture.png", format=format, **options)
    found = read_image(tmp_path / "picture.png")
    assert (
        np.abs(found[:, [0, -1]].astype(int) - pixels[:, [0, -1]]).max() < 12
    )  # away from the edge: these lose a little


@pytest.mark.parametrize("format", ["JPEG", "AVIF"])  # of OpenCV's and of Pillow's
def test_an_orientation_is_obeyed(tmp_path, format):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8] = 255
    Image.fromarray(pixels).save(tmp_path / "turned", format=format, exif=exif)
    found = read_image(tmp_path / "turned")
    assert found.shape == (24, 16, 3)
    assert found[:, :6].max() < 50
    assert found[:, 10:].min() > 200


def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path):
    Image.new("P", (4, 4)).save(tmp_path / "bomb.gif")
    data = bytearray((tmp_path / "bomb.gif").read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"  # the screen's width and height
    (tmp_path / "bomb.gif").write_bytes(data)
    with pytest.raises(ImageError, match=r"claims to have 65535x65535 pixels, more than 2\^30"):
        read_image(tmp_path / "bomb.gif")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["RGBA.png", "LA.png", "P.png", "P.gif", "RGBA.webp", "RGBA.tif", "RGB.png"])
def test_what_is_transparent_lies_over_white(tmp_path, kind, channels):
    mode, suffix = kind.split(".")
    alpha = np.tile(np.linspace(0, 255, 24).astype(np.uint8), (16, 1))
    colours = np.zeros((16, 24, 3), np.uint8)
    colours[:] = (200, 40, 10)
    path, options = tmp_path / f"picture.{suffix}", {"lossless": True, "exact": True} if suffix == "webp" else {}
    if mode in ("P", "RGB"):  # one colour of the palette, or of the pixels, is transparent
        alpha = np.where(alpha < 128, 0, 255).astype(np.uint8)
        colours[alpha == 0] = (1, 2, 3)
        image = Image.fromarray(colours).quantize(4) if mode == "P" else Image.fromarray(colours)
        options["transparency"] = image.getpixel((0, 0))
    else:
        image = Image.fromarray(np.dstack([colours, alpha])).convert(mode)
        colours = np.asarray(image.convert("RGB"))
    image.save(path, **options)
    opacity = alpha[..., None] / 255
    expected = colours * opacity + 255 * (1 - opacity)
    if channels == 1:
        expected = expected @ [0.299, 0.587, 0.114]
    found = read_image(path, channels)
    assert np.abs(found - expected).max() < 2
    assert found[:, 0].min() == 255
    pasted = Image.new("RGB", (24, 16), "white")
    pasted.paste(Image.open(path).convert("RGB"), mask=Image.fromarray(alpha))
    assert np.abs(found - np.asarray(pasted.convert("L" if channels == 1 else "RGB")).astype(int)).max() <= 1


# Odd pictures of Pillow's own tests, beside the checkout where somebody put them: they are not ours to pass on.
ODD_PICTURES = pathlib.Path(__file__).parents[3] / "shared" / "awkward" / "pillow"
REFUSED = {"broken.png", "decompression_bomb.gif", "truncated_image.png", "truncated_jpeg.jpg"}


@pytest.mark.skipif(not ODD_PICTURES.is_dir(), reason="no folder of odd pictures beside this checkout")
@pytest.mark.parametrize("channels", [1, 3])
def test_odd_pictures_are_read_or_refused(channels):
    refused = set()
    for path in sorted(ODD_PICTURES.iterdir()):
        try:
            pixels = read_image(path, channels)
        except ImageError:
            refused.add(path.name)
            continue
        assert pixels.dtype == np.uint8, path
        assert pixels.shape[2:] == (() if channels == 1 else (3,)), path
        assert pixels.size, path
    assert refused >= REFUSED
    assert refused <= REFUSED | {"LICENSE", "hopper_webp.tif", "hopper.heif", "decompression_bomb.ico", "hopper16.rgb"}
