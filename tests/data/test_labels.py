import numpy as np
import pytest
from PIL import Image

from paddle_pointrend.data.labels import read_label
from paddle_pointrend.errors import UsageError

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", "uint8"), (".png", "uint16"), (".tif", "uint8"), (".tif", "uint16"), (".tif", "int32")],
)
def test_every_integer_depth_gives_the_same_map(tmp_path, dtype, suffix):
    path = tmp_path / f"label{suffix}"
    Image.fromarray(IDS.astype(dtype)).save(path)
    label = read_label(path)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, IDS)


def test_palettes_and_two_colours(tmp_path):
    palette = Image.fromarray(IDS, "P")
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    palette.save(tmp_path / "palette.png", transparency=0)
    np.testing.assert_array_equal(read_label(tmp_path / "palette.png"), IDS)
    Image.fromarray(IDS > 0).save(tmp_path / "two.png")
    np.testing.assert_array_equal(read_label(tmp_path / "two.png"), IDS > 0)


def test_ids_above_255_stay(tmp_path):
    Image.fromarray(IDS.astype("uint16") * 1000).save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_label(tmp_path / "label.png"), IDS.astype(int) * 1000)


def test_the_first_frame_counts_and_an_orientation_is_obeyed(tmp_path):
    frames = [Image.fromarray(IDS), Image.fromarray(IDS * 0)]
    frames[0].save(tmp_path / "frames.tif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_label(tmp_path / "frames.tif"), IDS)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    Image.fromarray(IDS).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_label(tmp_path / "turned.png"), np.rot90(IDS, -1))


@pytest.mark.parametrize(
    ("array", "name", "message"),
    [
        (np.zeros((3, 4, 3), "uint8"), "label.png", r"holds colours \(RGB\), expected one channel of class ids"),
        (np.zeros((3, 4, 4), "uint8"), "label.png", r"holds colours \(RGBA\)"),
        (np.zeros((3, 4, 2), "uint8"), "label.png", r"more than one channel \(LA\)"),
        (np.zeros((3, 4), "float32"), "label.tif", r"holds fractions \(32-bit floats\), expected class ids"),
    ],
)
def test_what_are_no_class_ids_is_named(tmp_path, array, name, message):
    Image.fromarray(array).save(tmp_path / name)
    with pytest.raises(UsageError, match=rf"{name} .*{message}"):
        read_label(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "options"),
    [("label.jpg", {"quality": 100}), ("label.webp", {}), ("label.png", {"format": "JPEG"})],
)
def test_formats_of_photographs_are_refused_whatever_the_name(tmp_path, name, options):
    Image.fromarray(IDS).save(tmp_path / name, **options)
    with pytest.raises(UsageError, match=rf"{name} is compressed as a photograph .* write the labels as PNG, from"):
        read_label(tmp_path / name)


def test_a_tiff_is_refused_for_its_compression_alone(tmp_path):
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
        Image.fromarray(IDS).save(tmp_path / "label.tif", compression=compression)
        np.testing.assert_array_equal(read_label(tmp_path / "label.tif"), IDS)
    Image.fromarray(IDS).save(tmp_path / "label.tif", compression="jpeg")
    with pytest.raises(UsageError, match=r"label\.tif is compressed as a photograph \(TIFF\)"):
        read_label(tmp_path / "label.tif")


def test_broken_and_missing_files(tmp_path):
    Image.fromarray(np.random.randint(0, 3, (64, 64), "uint8")).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image")
    for name, message in (("cut.png", "truncated"), ("text.png", "cannot identify"), ("none.png", "no such file")):
        with pytest.raises(UsageError, match=rf"{name}.*{message}"):
            read_label(tmp_path / name)
