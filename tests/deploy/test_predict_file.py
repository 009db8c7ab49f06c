"""`Predictor.predict_file`, from disk to disk."""

import contextlib
import sys

import cv2
import numpy as np
import paddle
import pytest
from tiny_export import MEAN, NUM_CLASSES, PALETTE, STD, TinyNetwork

from paddle_pointrend.deploy import pipeline as pipeline_module
from paddle_pointrend.deploy import rasters
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.rasters import RasterError


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    return TinyNetwork()


def random_image(*size):
    return np.random.randint(0, 256, (*size, 3)).astype(np.uint8)


pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


@pytest.fixture
def rasterio():
    return pytest.importorskip("rasterio")


def write_tiff(rasterio, path, pixels, **options):
    """Writes bands [H, W, C] as a TIFF."""
    profile = {"height": pixels.shape[0], "width": pixels.shape[1], "count": pixels.shape[2], "dtype": pixels.dtype}
    expected = contextlib.nullcontext() if "crs" in options else pytest.warns(rasterio.errors.NotGeoreferencedWarning)
    with expected, rasterio.open(path, "w", driver="GTiff", **profile, **options) as dataset:
        dataset.write(pixels.transpose(2, 0, 1))
    return path


LAYOUTS = {
    "stripes": {},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(600, 90), (90, 300), (20, 30)])
def test_file_to_file_is_what_memory_gives(network, rasterio, tmp_path, layout, size):
    image = random_image(*size)
    source = write_tiff(rasterio, tmp_path / "image.tif", image, **LAYOUTS[layout])
    predictor = Predictor.from_model(network, mean=MEAN, std=STD, palette=PALETTE, window=(64, 48))
    predictor.predict_file(source, tmp_path / "labels.tif", progress=False)
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        assert (dataset.count, dataset.dtypes, dataset.driver) == (1, ("uint8",), "GTiff")
        assert dataset.block_shapes == [(256, 256)]
        assert dataset.compression.name == "deflate"
        assert [list(dataset.colormap(1)[i][:3]) for i in range(NUM_CLASSES)] == PALETTE
        labels = dataset.read(1)
    assert np.array_equal(labels, predictor.predict(image))
    assert len(np.unique(labels)) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.tif"]


def test_file_keeps_its_place_on_earth(network, rasterio, tmp_path):
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.2, 0, 500000, 0, -0.2, 5000000)}
    source = write_tiff(rasterio, tmp_path / "image.tif", random_image(20, 30), **place)
    predictor = Predictor.from_model(network, mean=MEAN, std=STD)
    predictor.predict_file(source, tmp_path / "labels.tif", progress=False)
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        assert dataset.crs == place["crs"]
        assert dataset.transform == place["transform"]


def test_file_of_another_format_and_a_palette_of_the_callers(network, rasterio, tmp_path):
    image = random_image(40, 50)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    predictor = Predictor.from_model(network, mean=MEAN, std=STD)
    predictor.predict_file(tmp_path / "image.png", tmp_path / "labels.tif", palette=PALETTE, progress=False)
    assert (predictor.palette[1] != PALETTE[1]).any()
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        assert list(dataset.colormap(1)[1][:3]) == PALETTE[1]
        assert np.array_equal(dataset.read(1), predictor.predict(image))


def test_file_shows_progress_in_rows(network, rasterio, tmp_path, capsys):
    source = write_tiff(rasterio, tmp_path / "image.tif", random_image(100, 30))
    predictor = Predictor.from_model(network, mean=MEAN, std=STD, window=(30, 40))
    predictor.predict_file(source, tmp_path / "labels.tif")
    assert "100/100" in capsys.readouterr().err


def test_refuses_files_that_are_no_pictures_of_three_bands_of_8_bits(network, rasterio, tmp_path):
    predictor = Predictor.from_model(network, mean=MEAN, std=STD)
    (tmp_path / "text.tif").write_text("not a picture")
    write_tiff(rasterio, tmp_path / "four.tif", np.zeros((8, 8, 4), np.uint8))
    write_tiff(rasterio, tmp_path / "wide.tif", np.zeros((8, 8, 3), np.uint16))
    for name, message in (
        ("none.tif", "none.tif: there is no such file"),
        ("text.tif", "text.tif is not a picture that GDAL can read"),
        ("four.tif", "four.tif has 4 bands of uint8, expected 3 of uint8"),
        ("wide.tif", "wide.tif has 3 bands of uint16, expected 3 of uint8"),
    ):
        with pytest.raises(RasterError, match=message):
            predictor.predict_file(tmp_path / name, tmp_path / "labels.tif", progress=False)
    assert not (tmp_path / "labels.tif").exists()


def test_refuses_targets_that_cannot_be_written(network, rasterio, tmp_path):
    source = write_tiff(rasterio, tmp_path / "image.tif", random_image(8, 8))
    predictor = Predictor.from_model(network, mean=MEAN, std=STD)
    with pytest.raises(RasterError, match="this is not a regular file"):
        predictor.predict_file(source, tmp_path, progress=False)
    with pytest.raises(RasterError, match="there is no such folder"):
        predictor.predict_file(source, tmp_path / "none" / "labels.tif", progress=False)


def test_a_damaged_file_leaves_the_target_as_it_was(network, rasterio, tmp_path):
    source = write_tiff(rasterio, tmp_path / "image.tif", random_image(300, 64), **LAYOUTS["tiles"])
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    (tmp_path / "labels.tif").write_text("as it was")
    predictor = Predictor.from_model(network, mean=MEAN, std=STD, window=(64, 48))
    with pytest.raises(RasterError, match=r"image.tif: rows \d+ to \d+ cannot be read"):
        predictor.predict_file(source, tmp_path / "labels.tif", progress=False)
    assert (tmp_path / "labels.tif").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.tif"]


def test_says_how_to_install_rasterio(network, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    predictor = Predictor.from_model(network, mean=MEAN, std=STD)
    with pytest.raises(RasterError, match=r'rasterio is not installed: pip install .*"\.\[large\]"'):
        predictor.predict_file(tmp_path / "image.tif", tmp_path / "labels.tif")


def test_memory_does_not_hold_the_image(network, rasterio, tmp_path, monkeypatch):
    """Never more rows of the picture than a window has, and never more rows of labels than tiles and a window have."""
    source = write_tiff(rasterio, tmp_path / "image.tif", random_image(1500, 40), **LAYOUTS["stripes"])
    asked, held = [], []
    slide, write = pipeline_module.slide, rasters._TileRowWriter.write

    def spy(predict, read_rows, *arguments, **options):
        return slide(predict, lambda y1, y2: asked.append(y2 - y1) or read_rows(y1, y2), *arguments, **options)

    def spy_write(self, rows):
        write(self, rows)
        held.append(len(self._rows))

    monkeypatch.setattr(pipeline_module, "slide", spy)
    monkeypatch.setattr(rasters._TileRowWriter, "write", spy_write)
    predictor = Predictor.from_model(network, mean=MEAN, std=STD, window=(32, 48))
    predictor.predict_file(source, tmp_path / "labels.tif", progress=False)
    assert sum(asked) == 1500 and max(asked) <= 48
    assert len(held) > 30 and max(held) < 256


@pytest.mark.parametrize("layout", LAYOUTS)
def test_script_that_measures_memory(rasterio, tmp_path, capsys, layout):
    import stream_large_image

    arguments = ["--size", "300", "200", "--window", "128", "96", "--layout", layout, "--folder", str(tmp_path)]
    stream_large_image.main(arguments)
    printed = capsys.readouterr().out
    assert f"300 x 200, {layout}, windows [128, 96], paddle" in printed
    assert "peak memory" in printed
    assert list(tmp_path.iterdir()) == []
