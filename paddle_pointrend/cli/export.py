"""paddle-pointrend export: trained weights to a file for Paddle Inference, ONNX Runtime or OpenVINO."""

import argparse
import tempfile

import numpy as np
from paddleseg.cvlibs import Config
from paddleseg.utils import logger

from paddle_pointrend.cli.common import add_config_arguments, make_save_dir, positive_int, set_device
from paddle_pointrend.cli.instance_export import export as export_instances
from paddle_pointrend.data.images import ImageError, find_images, read_image
from paddle_pointrend.deploy.deploy_file import EXPORT_PRECISIONS, FORMATS
from paddle_pointrend.deploy.description import describe_data
from paddle_pointrend.deploy.export import OUTPUTS, ExportError, compare_with_eager, export_model
from paddle_pointrend.deploy.precision_comparison import compare_precisions
from paddle_pointrend.deploy.quantization import MOST_IMAGES, check_quantization, evenly, quantize_export
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.paddleseg.configs import is_instance_config, load_config
from paddle_pointrend.paddleseg.models import load_model
from paddle_pointrend.paddleseg.preprocessing import val_preprocessing

# Above this share of pixels whose label differs from eager Paddle's, the command fails.
MOST_DIFFERENT_LABELS = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments, named as in PaddleSeg's tools/export.py."""
    add_config_arguments(parser)
    parser.add_argument("--model_path", help="the trained weights, a .pdparams file or the folder that holds it")
    parser.add_argument("--save_dir", default="output/export", help="default: output/export")
    parser.add_argument(
        "--format",
        choices=sorted(FORMATS),
        help="paddle for Paddle Inference, onnx for ONNX Runtime, OpenVINO and others; default: paddle, of int8 onnx",
    )
    parser.add_argument(
        "--output",
        choices=OUTPUTS,
        default="logits",
        help="float32 logits of each class, or the uint8 label map; default: logits",
    )
    parser.add_argument(
        "--output_size",
        nargs=2,
        type=positive_int,
        metavar=("WIDTH", "HEIGHT"),
        help="resize logits to this size, before the labels are taken; default: the image's size",
    )
    parser.add_argument(
        "--precision",
        choices=EXPORT_PRECISIONS,
        default="fp32",
        help="int8 quantises the coarse network, in format onnx; the point head stays in float32; default: fp32",
    )
    parser.add_argument(
        "--calibration",
        metavar="FOLDER",
        help=f"for int8: images as the network will see them, not those it is measured on; {MOST_IMAGES} are taken",
    )


def run(args: argparse.Namespace) -> int:
    """Exports and compares; returns the exit code, 1 if the exported network computes something else."""
    set_device("cpu")
    config = load_config(args.config, opts=args.opts)
    if is_instance_config(config):
        return export_instances(args, config)
    _check_int8_arguments(args)
    images = calibration_inputs(args.calibration, config) if args.precision == "int8" else []
    model = load_model(config, args.model_path)
    make_save_dir(args.save_dir)
    try:
        if args.precision == "int8":
            with tempfile.TemporaryDirectory(dir=args.save_dir, prefix=".float32-") as folder:
                code = _export(model, folder, "onnx", args, config) or _quantise(folder, args.save_dir, images)
        else:
            code = _export(model, args.save_dir, args.format or "paddle", args, config)
    except ExportError as error:
        raise UsageError(str(error)) from error
    if code == 0:
        logger.info(
            f"To use it: paddle-pointrend predict --config {args.config} --model_path {args.save_dir} --image_path ..."
        )
    return code


def _check_int8_arguments(args):
    if args.precision != "int8":
        if args.calibration:
            raise UsageError("--calibration is for --precision int8, which is missing")
        return
    if args.format == "paddle":
        raise UsageError("--precision int8 writes --format onnx, got --format paddle")
    if not args.calibration:
        raise UsageError("--precision int8 needs --calibration FOLDER: images as the network will see them")
    try:
        check_quantization()
    except ExportError as error:
        raise UsageError(str(error)) from error


def calibration_inputs(folder: str, config: Config) -> list[np.ndarray]:
    """Reads images of a folder or list, at most MOST_IMAGES, into the network's inputs, float32 [1, C, H, W].

    Raises:
        UsageError: there are none, or one of them cannot be read.
    """
    preprocess = val_preprocessing(config)
    try:
        files = evenly(find_images(folder)[0], MOST_IMAGES)
    except ImageError as error:
        raise UsageError(f"--calibration {error}") from error
    inputs = []
    for file in files:
        try:
            pixels, _ = preprocess(read_image(file, preprocess.image_channels))
        except ImageError as error:
            raise UsageError(f"--calibration {file}: {error}") from error
        inputs.append(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
    logger.info(f"Calibrating with {len(inputs)} images of {folder}")
    return inputs


def _export(model, folder, file_format, args, config):
    """Exports in float32 and compares with eager Paddle; returns the exit code."""
    size = args.output_size and args.output_size[::-1]
    options = {"format": file_format, "output": args.output, "output_size": size}
    export_model(model, folder, **options, **describe_data(config.dic))
    if args.precision == "fp32":
        files = "model.onnx" if file_format == "onnx" else "model.json, model.pdiparams"
        logger.info(f"Wrote {files} and deploy.yaml into {folder}")
    try:
        rows = compare_with_eager(model, folder, output_size=size)
    except Exception as error:  # each runtime has exceptions of its own for a network that it cannot run
        logger.error(f"The exported network could not be run, to compare it: {one_line(error)}")
        return 1
    for row in rows:
        logger.info(_in_words(row))
    if max(row["different_labels"] for row in rows) > MOST_DIFFERENT_LABELS:
        logger.error(f"The exported network does not compute what the model does; do not use {args.save_dir}")
        return 1
    return 0


def _quantise(float_folder, folder, images):
    """Quantises an export and compares the two; returns the exit code, 0."""
    done = quantize_export(float_folder, folder, images)
    logger.info(f"Wrote model.onnx and deploy.yaml into {folder}: {done.int8_layers} convolutions in int8")
    if done.float32_layers:
        logger.info(f"Sensitive, so in float32: {', '.join(done.float32_layers)}")
    if done.different_coarse_labels is not None:
        logger.info(f"Against float32, on these images: {done.different_coarse_labels:.2g} of the coarse labels differ")
    for row in compare_precisions(float_folder, folder, images):
        name, seconds = row["runtime"], f"{row['int8_seconds']:.3g} s and {row['float32_seconds']:.3g} s"
        logger.info(
            f"Against float32, in {name}: {row['different_labels']:.2g} of the labels differ; int8 takes "
            f"{row['time']:.2f} of the time ({seconds})"
        )
        if row["time"] > 1:
            logger.warning(f"In {name} int8 is slower than float32 on this machine: use float32 there")
    return 0


def _in_words(row):
    batch, height, width = row["size"]
    text = f"Against eager Paddle, {batch} x {height} x {width}: {row['different_labels']:.2g} of the labels differ"
    if "max_difference" in row:
        text += f", logits by at most {row['max_difference']:.2g} (they reach {row['max_logit']:.3g})"
    return text
