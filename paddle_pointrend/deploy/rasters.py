"""Reads and writes pictures on disk by rows, with rasterio (GDAL), which is imported when one is opened.

This is the "large" extra: pip install -c constraints.txt -e ".[large]".
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from paddle_pointrend.errors import one_line
from paddle_pointrend.files import whole_file

if TYPE_CHECKING:
    import rasterio

_TILE = 256  # pixels; TIFF wants multiples of 16
_CACHE_MEGABYTES = 128  # GDAL's own default is a share of the machine's memory


class RasterError(ValueError):
    """A picture that cannot be read or written; the message says why."""


class RasterWriteError(RasterError):
    """A label map that cannot be written."""


class RasterReader:
    """Reads rows of an open picture of three bands of 8 bits.

    Attributes: height, width (pixels); place (where on Earth it lies, as options of rasterio.open: empty where the file
    says nothing).
    """

    def __init__(self, dataset: rasterio.DatasetReader):
        self._dataset = dataset
        self.height, self.width = dataset.height, dataset.width
        self.place: dict[str, Any] = {"crs": dataset.crs} if dataset.crs else {}
        if not dataset.transform.is_identity:
            self.place["transform"] = dataset.transform

    def read_rows(self, y1: int, y2: int) -> np.ndarray:
        """Reads uint8 [y2 - y1, W, 3]. RasterError if the file is damaged there."""
        import rasterio.errors

        try:
            bands = self._dataset.read(window=((y1, y2), (0, self.width)))
        except rasterio.errors.RasterioError as error:
            raise RasterError(f"{self._dataset.name}: rows {y1} to {y2} cannot be read: {_reason(error)}") from error
        return bands.transpose(1, 2, 0)


@contextlib.contextmanager
def open_raster(path: str | os.PathLike) -> Iterator[RasterReader]:
    """Opens a file as a RasterReader.

    Raises:
        RasterError: rasterio is not installed, the file is no picture or not one of three bands of 8 bits.
    """
    rasterio = _rasterio()
    if not pathlib.Path(path).is_file():
        raise RasterError(f"{path}: there is no such file")
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MEGABYTES):
        try:
            with _no_place_is_no_fault(rasterio):
                dataset = rasterio.open(path)
                reader = RasterReader(dataset)
        except rasterio.errors.RasterioError as error:
            raise RasterError(f"{path} is not a picture that GDAL can read: {_reason(error)}") from error
        with dataset:
            types = ", ".join(sorted(set(dataset.dtypes)))
            if dataset.count != 3 or types != "uint8":
                raise RasterError(
                    f"{path} has {dataset.count} bands of {types}, expected 3 of uint8 "
                    "(red, green, blue); gdal_translate -ot Byte -b 1 -b 2 -b 3 makes a file of three"
                )
            yield reader


@contextlib.contextmanager
def write_label_map(
    path: str | os.PathLike, size: tuple[int, int], palette: np.ndarray, place: dict[str, Any]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a label map from top to bottom: a tiled, deflate-compressed TIFF of 8 bits with a palette.

    The file appears whole, when the block ends, or not at all: it has another name until then.

    Args:
        path: the file; its folder exists.
        size: (height, width).
        palette: [K, 3] RGB in 0..255, the colours of labels 0 to K - 1.
        place: `RasterReader.place` of the picture.

    Yields:
        write(rows uint8 [any number, W]), to be called for all rows in order.

    Raises:
        RasterError: rasterio is not installed. RasterWriteError: the file cannot be written.
    """
    rasterio = _rasterio()
    profile = {"driver": "GTiff", "height": size[0], "width": size[1], "count": 1, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE, "compress": "deflate", "bigtiff": "if_safer"}
    try:
        with whole_file(path) as draft:
            with _no_place_is_no_fault(rasterio):
                dataset = rasterio.open(draft, "w", **profile, **place)
            with dataset:
                dataset.write_colormap(1, {i: tuple(int(v) for v in color) for i, color in enumerate(palette)})
                writer = _TileRowWriter(dataset)
                yield writer.write
                writer.finish()
    except (OSError, rasterio.errors.RasterioError) as error:
        raise RasterWriteError(f"cannot write {path}: {_reason(error)}") from error


class _TileRowWriter:
    """Gathers rows until they fill tiles: a tile that is written twice is compressed twice and leaves a hole."""

    def __init__(self, dataset):
        self._dataset = dataset
        self._y = 0  # rows written
        self._rows = np.empty((0, dataset.width), np.uint8)

    def write(self, rows):
        self._rows = np.concatenate([self._rows, rows])
        self._write(len(self._rows) // _TILE * _TILE)

    def finish(self):
        self._write(len(self._rows))
        if self._y != self._dataset.height:
            raise ValueError(f"{self._y} rows were written of {self._dataset.height}")

    def _write(self, count):
        if count:
            window = ((self._y, self._y + count), (0, self._dataset.width))
            self._dataset.write(self._rows[:count], 1, window=window)
            self._rows, self._y = self._rows[count:], self._y + count


@contextlib.contextmanager
def _no_place_is_no_fault(rasterio):
    """Silences rasterio's warning that a photo lies nowhere on Earth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def _rasterio():
    try:
        import rasterio
        import rasterio.errors
    except ImportError as error:
        raise RasterError('rasterio is not installed: pip install -c constraints.txt -e ".[large]"') from error
    return rasterio


def _reason(error):
    return one_line(error.__cause__ or error)
