"""paddle-pointrend predict: an image, a folder or a list file, into PaddleSeg's output folders."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from paddleseg.utils import logger
from tqdm import tqdm

from paddle_pointrend.cli import instances
from paddle_pointrend.cli.common import add_common_arguments, make_save_dir, set_device
from paddle_pointrend.cli.inference import add_inference_arguments, inference_settings
from paddle_pointrend.cli.prediction_files import (
    color_map,
    find_inputs,
    network_fails,
    predict_large_image,
    save_prediction,
)
from paddle_pointrend.cli.predictors import load_predictor
from paddle_pointrend.data.images import ImageError, count_pixels, is_tiff, read_image
from paddle_pointrend.deploy.deploy_file import DeployFile, is_exported
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.rasters import RasterError, open_raster
from paddle_pointrend.deploy.runtimes import PRECISIONS, RUNTIMES
from paddle_pointrend.deploy.trained_weights import MANY_IMAGES
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.inference import OutputError, resize_maps
from paddle_pointrend.paddleseg.configs import is_instance_config, load_config
from paddle_pointrend.paddleseg.distributed import rank_and_size

LARGE_IMAGE = 2**26  # pixels: 8192 x 8192; of larger ones neither pixels nor pictures are whole in memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments, named as in PaddleSeg's tools/predict.py."""
    add_common_arguments(parser, exported=True)
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
        help="default: that of an exported folder, of trained weights fp32; bf16 is several times as fast on "
        "processors with AMX, in openvino, and changes a few labels at boundaries",
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


def run(args: argparse.Namespace) -> int:
    """Predicts; returns the exit code, 1 if images were skipped."""
    # ONNX Runtime and OpenVINO find GPUs themselves: a Paddle built for CPU is enough.
    needs_no_paddle = args.runtime is not None and RUNTIMES[args.runtime].package != "paddle"
    set_device("cpu" if needs_no_paddle and args.device == "gpu" else args.device)
    logging.getLogger("rasterio").setLevel(logging.ERROR)  # GDAL's errors are raised too
    config = _load_config(args)
    if _finds_instances(args, config):
        return instances.predict(args, config)
    dataset = config and config.dic.get("val_dataset")
    images, root = find_inputs(args.image_path, args.save_dir, (dataset or {}).get("separator", " "))
    make_save_dir(args.save_dir)
    colors = color_map(args.custom_color)
    settings = inference_settings(args, config.test_config if config else {}, "aug_pred")
    large = find_large_images(images, args.image_path, settings)
    many = len(images) >= MANY_IMAGES or bool(large)
    predictor = load_predictor(args, config, settings, many_images=many, in_parts=bool(large))
    rank, size = rank_and_size()
    images = images[rank::size]
    broken = []
    for image in tqdm(images, "predicting", unit="image", disable=rank > 0):
        try:
            if image in large:
                predict_large_image(predictor, args.save_dir, image, root, colors, progress=rank == 0)
            else:
                pixels = read_image(image, predictor.image_channels)
                save_prediction(args.save_dir, image, root, pixels, predict_labels(predictor, pixels), colors)
        except ImageError as error:
            broken.append(image)
            tqdm.write(f"skipped {image}: {error}")
    logger.info(f"{len(images) - len(broken)} predictions are in {args.save_dir}")
    if broken:
        logger.error(f"{len(broken)} of {len(images)} images were skipped: {', '.join(broken)}")
    return 1 if broken else 0


def _load_config(args):
    """The config of --config, None where an exported folder is predicted without one."""
    if args.config is not None:
        return load_config(args.config, opts=args.opts)
    if not (args.model_path and is_exported(args.model_path)):
        raise UsageError("--config is missing; only a --model_path that paddle-pointrend export wrote goes without")
    if args.opts:
        raise UsageError("--opts changes the config, but there is no --config")
    return None


def _finds_instances(args, config):
    if config is not None:
        return is_instance_config(config)
    try:
        return DeployFile.read(args.model_path).finds_instances
    except ValueError as error:
        raise UsageError(one_line(error)) from error


def find_large_images(images: Sequence[str], image_path: str, settings: Mapping[str, Any]) -> set[str]:
    """Finds the images that are predicted in parts, from disk to disk: with --is_slide those of more than LARGE_IMAGE
    pixels, and a TIFF that is --image_path itself with --is_slide, of more pixels than that, or that says where on
    Earth it lies, which its labels then say too.

    Raises:
        UsageError: a TIFF that cannot be read in parts, or not with these settings.
    """
    if list(images) == [image_path] and is_tiff(image_path):
        return {image_path} if _goes_in_parts(image_path, settings) else set()
    if settings["augment"] or not settings["is_slide"]:
        return set()
    large = {image for image in images if count_pixels(image) > LARGE_IMAGE}
    if large and importlib.util.find_spec("rasterio") is None:
        logger.warning(f"{len(large)} large images are predicted in memory, because rasterio is not installed")
        return set()
    return large


def predict_labels(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
    """Predicts labels uint8 [H, W] of an image's pixels, uint8 [H, W, 3] in RGB or [H, W] in grey.

    Raises:
        ImageError: the network fails on this image. UsageError: it does not predict labels of any image's pixels.
    """
    try:
        labels = np.asarray(predictor.predict(pixels))
    except OutputError as error:
        raise UsageError(one_line(error)) from error
    except Exception as error:  # each runtime has exceptions of its own
        raise network_fails(error) from error
    if labels.shape != pixels.shape[:2]:  # of a network that was exported with --output label and --output_size
        labels = resize_maps(labels[None, None], pixels.shape[:2], "nearest")[0, 0]
    return labels


def _goes_in_parts(path, settings):
    """Tells it of a TIFF that is --image_path itself; UsageError as of `find_large_images`."""
    pixels = count_pixels(path)  # 0 where only GDAL may know
    is_small = 0 < pixels <= LARGE_IMAGE
    if is_small and settings["augment"]:
        return False
    try:
        with open_raster(path) as picture:
            lies_on_earth = bool(picture.place)
    except RasterError as error:
        if is_small and not settings["is_slide"]:
            return False
        if pixels <= LARGE_IMAGE and _can_be_read(path):  # of other bands or depth, which OpenCV reads whole
            return False
        raise UsageError(one_line(error)) from error
    if settings["augment"]:
        raise UsageError(f"--image_path {path} is predicted in parts, which --aug_pred cannot do")
    return not is_small or settings["is_slide"] or lies_on_earth


def _can_be_read(path):
    try:
        read_image(path)
    except ImageError:
        return False
    return True
