"""paddle-pointrend export: trained weights to a file for Paddle Inference, ONNX Runtime or OpenVINO."""

import argparse

from paddleseg.utils import logger

from paddle_pointrend.cli.common import add_config_arguments, make_save_dir, positive_int, set_device
from paddle_pointrend.deploy.deploy_file import FORMATS
from paddle_pointrend.deploy.description import describe_data
from paddle_pointrend.deploy.export import OUTPUTS, ExportError, compare_with_eager, export_model
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.paddleseg.configs import is_instance_config, load_config
from paddle_pointrend.paddleseg.models import load_model

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
        default="paddle",
        help="paddle for Paddle Inference, onnx for ONNX Runtime, OpenVINO and others; default: paddle",
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


def run(args: argparse.Namespace) -> int:
    """Exports and compares; returns the exit code, 1 if the exported network computes something else."""
    set_device("cpu")
    config = load_config(args.config, opts=args.opts)
    if is_instance_config(config):
        raise UsageError(
            f"--config {args.config}: networks of instances cannot be exported yet; predict runs them unexported"
        )
    model = load_model(config, args.model_path)
    make_save_dir(args.save_dir)
    size = args.output_size and args.output_size[::-1]
    options = {"format": args.format, "output": args.output, "output_size": size}
    try:
        export_model(model, args.save_dir, **options, **describe_data(config.dic))
    except ExportError as error:
        raise UsageError(str(error)) from error
    files = "model.onnx" if args.format == "onnx" else "model.json, model.pdiparams"
    logger.info(f"Wrote {files} and deploy.yaml into {args.save_dir}")
    try:
        rows = compare_with_eager(model, args.save_dir, output_size=size)
    except Exception as error:  # each runtime has exceptions of its own for a network that it cannot run
        logger.error(f"The exported network could not be run, to compare it: {one_line(error)}")
        return 1
    for row in rows:
        logger.info(_in_words(row))
    if max(row["different_labels"] for row in rows) > MOST_DIFFERENT_LABELS:
        logger.error(f"The exported network does not compute what the model does; do not use {args.save_dir}")
        return 1
    logger.info(
        f"To use it: paddle-pointrend predict --config {args.config} --model_path {args.save_dir} --image_path ..."
    )
    return 0


def _in_words(row):
    batch, height, width = row["size"]
    text = f"Against eager Paddle, {batch} x {height} x {width}: {row['different_labels']:.2g} of the labels differ"
    if "max_difference" in row:
        text += f", logits by at most {row['max_difference']:.2g} (they reach {row['max_logit']:.3g})"
    return text
