"""The files that predict writes, in PaddleSeg's folders: added_prediction/ and pseudo_color_prediction/."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from paddleseg.utils import logger, visualize

from paddle_pointrend.data.images import ImageError, find_images
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.rasters import RasterError, RasterWriteError
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.files import write_whole
from paddle_pointrend.inference import OutputError

_WRITABLE = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".ppm")  # by OpenCV, in colours
_PICTURES, _LABELS = "added_prediction", "pseudo_color_prediction"


def find_inputs(
    image_path: str | os.PathLike, save_dir: str | os.PathLike, separator: str = " "
) -> tuple[list[str], str | None]:
    """Finds what is to be predicted: of a folder that has save_dir in it, not what was predicted before.

    Args:
        image_path, separator: as of `find_images`.
        save_dir: the folder to write into.

    Returns:
        As `find_images`.

    Raises:
        UsageError: there are no images, or one's prediction would be written over another's.
    """
    try:
        images, root = find_images(image_path, separator)
    except ImageError as error:
        raise UsageError(f"--image_path {error}") from error
    if os.path.isdir(image_path):
        inputs = _without_results(images, image_path, save_dir)
        if not inputs:
            raise UsageError(f"--image_path {image_path}: there are no images in it but earlier results of --save_dir")
        if len(inputs) < len(images):
            logger.info(f"{len(images) - len(inputs)} earlier results in {save_dir} are not predicted")
        images = inputs
    check_output_names(images, root)
    return images, root


def _without_results(images, folder, save_dir):
    folder = pathlib.Path(folder).resolve()
    written = [(pathlib.Path(save_dir) / name).resolve() for name in (_PICTURES, _LABELS)]
    written = [results for results in written if folder in results.parents]
    return [image for image in images if not _is_below(image, written)]


def _is_below(image, folders):
    above = pathlib.Path(image).parent.resolve()
    return any(above.is_relative_to(folder) for folder in folders)


def check_output_names(images: Iterable[str], root: str | None) -> None:
    """Raises UsageError if one image's prediction would be written over another's."""
    taken: dict[pathlib.Path, str] = {}
    for image in images:
        name = _output_name(image, root).with_suffix(".png")
        other = taken.setdefault(name, image)
        if pathlib.Path(other).resolve() != pathlib.Path(image).resolve():
            raise UsageError(f"{other} and {image} would both be predicted into {name}; rename one or predict it alone")


def color_map(custom_color: Sequence[int] | None) -> list[int]:
    """Lists PaddleSeg's colours, R G B R G B ..., the first ones replaced by --custom_color. UsageError for others."""
    if custom_color and (len(custom_color) % 3 or not all(0 <= value <= 255 for value in custom_color)):
        raise UsageError(f"--custom_color takes three numbers from 0 to 255 a class, got {len(custom_color)} numbers")
    return visualize.get_color_map_list(256, custom_color=custom_color)


def save_prediction(
    save_dir: str | os.PathLike, image: str, root: str | None, pixels: np.ndarray, labels: np.ndarray, colors: list[int]
) -> None:
    """Writes added_prediction/ (colours over the image) and pseudo_color_prediction/ (palette PNG).

    Args:
        save_dir: the folder to write into.
        image: the file that was predicted.
        root: the folder whose subfolders are kept, or None.
        pixels: of the image, uint8 [H, W, 3] in RGB, or [H, W].
        labels: uint8 [H, W].
        colors: of `color_map`.

    Raises:
        ImageError: OpenCV does not write images of this kind. UsageError: the files cannot be written.
    """
    colored = (pathlib.Path(save_dir) / _LABELS / _output_name(image, root)).with_suffix(".png")
    palette_png = io.BytesIO()
    visualize.get_pseudo_color_map(labels, colors).save(palette_png, format="PNG")
    write_picture(picture_file(save_dir, image, root), _overlay(pixels, labels, colors))
    _write(colored, palette_png.getvalue())


def picture_file(save_dir: str | os.PathLike, image: str, root: str | None) -> pathlib.Path:
    """Names the picture in added_prediction/ of an image; arguments as of `save_prediction`."""
    file = pathlib.Path(save_dir) / _PICTURES / _output_name(image, root)
    return file if file.suffix.lower() in _WRITABLE else file.with_suffix(".png")


def write_picture(file: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, 3] in BGR, and makes its folder; errors as of `save_prediction`."""
    _write(file, _encode(picture, file.suffix))


def predict_large_image(
    predictor: Predictor,
    save_dir: str | os.PathLike,
    image: str,
    root: str | None,
    colors: list[int],
    *,
    progress: bool,
) -> None:
    """Writes pseudo_color_prediction/NAME.tif, in a sliding window from disk to disk.

    Raises:
        ImageError: the image cannot be read in parts, or the network fails on it. UsageError: the network cannot do
            it, or the file cannot be written.
    """
    target = (pathlib.Path(save_dir) / _LABELS / _output_name(image, root)).with_suffix(".tif")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        predictor.predict_file(image, target, palette=np.reshape(colors, (-1, 3)), progress=progress)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
    except (OutputError, RasterWriteError) as error:
        raise UsageError(one_line(error)) from error
    except RasterError as error:
        raise ImageError(one_line(error)) from error
    except Exception as error:  # each runtime has exceptions of its own
        raise network_fails(error) from error


def network_fails(error: Exception) -> ImageError:
    """Makes the ImageError of an image that a runtime fails on."""
    return ImageError(f"the network fails on it: {one_line(error)}")


def _overlay(pixels, labels, colors):
    """Six tenths of the image and four of the labels' colours, as PaddleSeg's pictures; BGR."""
    image = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., ::-1]
    palette = np.reshape(colors, (-1, 3)).astype(np.uint8)[:, ::-1]
    return cv2.addWeighted(np.ascontiguousarray(image), 0.6, palette[labels], 0.4, 0)


def _write(file, data):
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, data)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _encode(picture, suffix):
    try:
        done, data = cv2.imencode(suffix, picture)
    except cv2.error as error:
        raise ImageError(f"OpenCV cannot write {suffix} images") from error
    if not done:
        raise ImageError(f"OpenCV cannot write this picture as {suffix}")
    return data.tobytes()


def _output_name(image, root):
    """The image's path below root; one that a list names elsewhere keeps its folders, inside save_dir."""
    if root is None:
        return pathlib.Path(pathlib.Path(image).name)
    path, root = pathlib.Path(image).absolute(), pathlib.Path(root).absolute()
    relative = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)
    return pathlib.Path(*(part for part in relative.parts if part != ".."))
