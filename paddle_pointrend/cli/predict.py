"""paddle-pointrend predict: an image, a folder or a list file, into PaddleSeg's output folders."""

import contextlib
import importlib.util
import io
import logging
import pathlib
import tempfile

import cv2
import numpy as np
import paddle
from paddleseg.core.predict import preprocess
from paddleseg.transforms import Compose
from paddleseg.utils import logger, utils, visualize
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from paddle_pointrend.cli.common import add_common_arguments, make_save_dir, set_device
from paddle_pointrend.cli.inference import add_inference_arguments, inference_options
from paddle_pointrend.cli.networks import MANY_IMAGES, load_config_and_layer, load_network
from paddle_pointrend.deploy.rasters import RasterError, RasterWriteError, open_raster
from paddle_pointrend.deploy.runtimes import PRECISIONS, RUNTIMES
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.files import write_whole
from paddle_pointrend.inference.sliding_window import OutputError
from paddle_pointrend.paddleseg.configs import build
from paddle_pointrend.paddleseg.distributed import rank_and_size

LARGE_IMAGE = 2**26  # pixels: 8192 x 8192, whose sums of 19 classes take 10 GB in PaddleSeg's sliding window


class BrokenImageError(Exception):
    """An image that cannot be read, or has no picture of its prediction; it is reported and skipped."""


def add_arguments(parser):
    """The command's arguments, named as in PaddleSeg's tools/predict.py."""
    add_common_arguments(parser)
    add_inference_arguments(parser, "--aug_pred", exported=True)
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="what runs the network; for all but paddle trained weights are exported first. Default: the fastest "
        f"that is installed, but for trained weights on a GPU or fewer than {MANY_IMAGES} images paddle",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="bf16 is several times as fast on processors with AMX, in openvino, and changes a few labels at "
        "boundaries; default: fp32",
    )
    parser.add_argument(
        "--image_path",
        required=True,
        help="an image, a folder of images, or a text file that lists images; a .tif of any size",
    )
    parser.add_argument("--save_dir", default="output/result", help="default: output/result")
    parser.add_argument(
        "--custom_color", nargs="+", type=int, metavar="N", help="colours of the classes: R G B R G B ..."
    )


def run(args):
    """Predicts; returns the exit code, 1 if images were skipped."""
    device = set_device(args.device)
    logging.getLogger("rasterio").setLevel(logging.ERROR)  # GDAL's errors are raised too
    images, root = find_images(args.image_path)
    check_output_names(images, root)
    make_save_dir(args.save_dir)
    color_map = _color_map(args.custom_color)
    config, builder, layer = load_config_and_layer(args)
    options = inference_options(args, config.test_config, "aug_pred")
    channels = config.val_dataset_cfg.get("img_channels", 3)
    transforms = Compose(build(builder, args.config, "val_transforms"), img_channels=channels)
    large = find_large_images(images, args.image_path, options)
    many = len(images) >= MANY_IMAGES or bool(large)
    rank, size = rank_and_size()
    images = images[rank::size]
    broken = []
    with paddle.no_grad(), tempfile.TemporaryDirectory() as folder:
        network = load_network(args, layer, config, options, device=device, many=many, folder=folder)
        if large:
            window = {key: options[key] if options["is_slide"] else None for key in ("crop_size", "stride")}
            predictor = network.predictor(transforms.transforms, window["crop_size"], window["stride"])
        for image in tqdm(images, "predicting", unit="image", disable=rank > 0):
            try:
                if image in large:
                    predict_large_image(predictor, args.save_dir, image, root, color_map, progress=rank == 0)
                    continue
                data = preprocess(read_image(image, transforms.read_flag), transforms)
                save_prediction(args.save_dir, image, root, network.predict_labels(data, options), color_map)
            except BrokenImageError as error:
                broken.append(image)
                tqdm.write(f"skipped {image}: {error}")
    logger.info(f"{len(images) - len(broken)} predictions are in {args.save_dir}")
    if broken:
        logger.error(f"{len(broken)} of {len(images)} images were skipped: {', '.join(broken)}")
    return 1 if broken else 0


def find_images(path):
    """The images that --image_path names, and the folder that subfolders count from, or None.

    Raises:
        UsageError: there is nothing at the path, or nothing in it.
    """
    if _is_tiff(path) and pathlib.Path(path).is_file():
        return [path], None
    try:
        images, root = utils.get_image_list(path)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--image_path {path}: neither an image (.jpg, .jpeg, .png, .bmp, .tif) nor a text file listing images"
        ) from error
    except (FileNotFoundError, RuntimeError) as error:
        reason = "there are no images in it" if pathlib.Path(path).exists() else "there is no such file or folder"
        raise UsageError(f"--image_path {path}: {reason}") from error
    images = [image for image in images if not pathlib.Path(image).is_dir()]  # empty lines of a list
    if not images:
        raise UsageError(f"--image_path {path}: there are no images in it")
    images = dict.fromkeys(images)  # a list may name one twice
    return sorted(images) if pathlib.Path(path).is_dir() else list(images), root


def check_output_names(images, root):
    """Raises UsageError if one image's prediction would be written over another's."""
    taken = {}
    for image in images:
        name = _output_name(image, root).with_suffix(".png")
        other = taken.setdefault(name, image)
        if pathlib.Path(other).resolve() != pathlib.Path(image).resolve():
            raise UsageError(f"{other} and {image} would both be predicted into {name}; rename one or predict it alone")


def find_large_images(images, image_path, options):
    """Which images are predicted in parts, from disk to disk: a TIFF that is --image_path itself, and with --is_slide
    those of more than LARGE_IMAGE pixels.

    Raises:
        UsageError: a TIFF that cannot be read in parts, or not with these options.
    """
    if images == [image_path] and _is_tiff(image_path):
        if options["augment"]:
            raise UsageError(f"--image_path {image_path} is predicted in parts, which --aug_pred cannot do")
        try:
            with open_raster(image_path):
                return {image_path}
        except RasterError as error:
            raise UsageError(one_line(error)) from error
    if options["augment"] or not options["is_slide"]:
        return set()
    large = {image for image in images if _pixels(image) > LARGE_IMAGE}
    if large and importlib.util.find_spec("rasterio") is None:
        logger.warning(f"{len(large)} large images are predicted in memory, because rasterio is not installed")
        return set()
    return large


def predict_large_image(predictor, save_dir, image, root, color_map, *, progress):
    """Writes pseudo_color_prediction/NAME.tif, in a sliding window from disk to disk.

    Raises:
        BrokenImageError: the image cannot be read in parts. UsageError: the network cannot do it, or the file cannot
            be written.
    """
    target = (pathlib.Path(save_dir) / "pseudo_color_prediction" / _output_name(image, root)).with_suffix(".tif")
    palette = np.reshape(color_map, (-1, 3))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        predictor.predict_file(image, target, palette=palette, progress=progress)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
    except (OutputError, RasterWriteError) as error:
        raise UsageError(one_line(error)) from error
    except RasterError as error:
        raise BrokenImageError(one_line(error)) from error


def read_image(path, flag):
    """Pixels as OpenCV reads them, float32. BrokenImageError if it cannot, or if the file ends too early."""
    if not pathlib.Path(path).is_file():
        raise BrokenImageError("there is no such file")
    try:
        pixels = cv2.imread(path, flag)
    except cv2.error as error:
        raise BrokenImageError(one_line(error)) from error  # more pixels than OpenCV's limit
    if pixels is None:
        raise BrokenImageError("not an image that OpenCV can read")
    try:
        _read_to_its_end(path)
    except UnidentifiedImageError:
        pass  # a format that OpenCV knows and Pillow does not
    except (OSError, SyntaxError, ValueError) as error:
        raise BrokenImageError(str(error)) from error
    return pixels.astype("float32")


def _is_tiff(path):
    return pathlib.Path(path).suffix.lower() in (".tif", ".tiff")


def _pixels(path):
    """The pixels that an image's head promises; 0 where there is no reading it."""
    try:
        with _any_size(), Image.open(path) as image:
            return image.width * image.height
    except (OSError, SyntaxError, ValueError):  # UnidentifiedImageError is an OSError
        return 0


def _read_to_its_end(path):
    """Reads an image with Pillow: OpenCV fills the rest of a truncated file with grey and says nothing."""
    with _any_size(), Image.open(path) as image:
        image.load()


@contextlib.contextmanager
def _any_size():
    """Without Pillow's limit on pixels: OpenCV has its own."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def save_prediction(save_dir, image, root, labels, color_map):
    """Writes added_prediction/ (colours over the image) and pseudo_color_prediction/ (palette PNG).

    Raises:
        BrokenImageError: OpenCV does not write images of this kind. UsageError: the files cannot be written.
    """
    name = _output_name(image, root)
    added = pathlib.Path(save_dir) / "added_prediction" / name
    colored = (pathlib.Path(save_dir) / "pseudo_color_prediction" / name).with_suffix(".png")
    palette_png = io.BytesIO()
    visualize.get_pseudo_color_map(labels, color_map).save(palette_png, format="PNG")
    pictures = {
        added: _encode(visualize.visualize(image, labels, color_map, weight=0.6), name.suffix),
        colored: palette_png.getvalue(),
    }
    for file, data in pictures.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, data)
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _encode(picture, suffix):
    try:
        done, data = cv2.imencode(suffix, picture)
    except cv2.error as error:
        raise BrokenImageError(f"OpenCV cannot write {suffix} images") from error
    if not done:
        raise BrokenImageError(f"OpenCV cannot write this picture as {suffix}")
    return data.tobytes()


def _output_name(image, root):
    """The image's path below root; one that a list names elsewhere keeps its folders, inside save_dir."""
    if root is None:
        return pathlib.Path(pathlib.Path(image).name)
    path, root = pathlib.Path(image).absolute(), pathlib.Path(root).absolute()
    relative = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)
    return pathlib.Path(*(part for part in relative.parts if part != ".."))


def _color_map(custom_color):
    if custom_color and (len(custom_color) % 3 or not all(0 <= value <= 255 for value in custom_color)):
        raise UsageError(f"--custom_color takes three numbers from 0 to 255 a class, got {len(custom_color)} numbers")
    return visualize.get_color_map_list(256, custom_color=custom_color)
