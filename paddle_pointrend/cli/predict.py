"""paddle-pointrend predict: an image, a folder or a list file, into PaddleSeg's output folders."""

import io
import pathlib

import cv2
import paddle
from paddleseg.core.predict import preprocess
from paddleseg.transforms import Compose
from paddleseg.utils import logger, utils, visualize
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from paddle_pointrend.cli.common import (
    UsageError,
    add_common_arguments,
    build,
    make_save_dir,
    one_line,
    rank_and_size,
    set_device,
)
from paddle_pointrend.cli.inference import (
    add_inference_arguments,
    inference_options,
    load_trained_model,
    predict_logits,
)
from paddle_pointrend.files import write_whole


class BrokenImageError(Exception):
    """An image that cannot be read, or has no picture of its prediction; it is reported and skipped."""


def add_arguments(parser):
    """The command's arguments, named as in PaddleSeg's tools/predict.py."""
    add_common_arguments(parser)
    add_inference_arguments(parser, "--aug_pred")
    parser.add_argument(
        "--image_path", required=True, help="an image, a folder of images, or a text file that lists images"
    )
    parser.add_argument("--save_dir", default="output/result", help="default: output/result")
    parser.add_argument(
        "--custom_color", nargs="+", type=int, metavar="N", help="colours of the classes: R G B R G B ..."
    )


def run(args):
    """Predicts; returns the exit code, 1 if images were skipped."""
    set_device(args.device)
    images, root = find_images(args.image_path)
    check_output_names(images, root)
    make_save_dir(args.save_dir)
    color_map = _color_map(args.custom_color)
    config, builder, model = load_trained_model(args)
    options = inference_options(args, config.test_config, "aug_pred")
    channels = config.val_dataset_cfg.get("img_channels", 3)
    transforms = Compose(build(builder, args.config, "val_transforms"), img_channels=channels)
    rank, size = rank_and_size()
    images = images[rank::size]
    broken = []
    with paddle.no_grad():
        for image in tqdm(images, "predicting", unit="image", disable=rank > 0):
            try:
                data = preprocess(read_image(image, transforms.read_flag), transforms)
                logits = predict_logits(model, data["img"], data["trans_info"], options)
                labels = logits.argmax(axis=1).squeeze(0).numpy().astype("uint8")
                save_prediction(args.save_dir, image, root, labels, color_map)
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
    try:
        images, root = utils.get_image_list(path)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--image_path {path}: neither an image (.jpg, .jpeg, .png, .bmp) nor a text file listing images"
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


def _read_to_its_end(path):
    """Reads an image with Pillow: OpenCV fills the rest of a truncated file with grey and says nothing."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # OpenCV, which has its own, has read it already
    try:
        with Image.open(path) as image:
            image.load()
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
