"""paddle-pointrend val: mIoU, mAcc, class IoU and boundary IoU, or AP of instances, coarse and refined."""

from __future__ import annotations

import argparse
import pathlib

from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.datasets import Dataset
from paddleseg.utils import logger

from paddle_pointrend.cli import instances
from paddle_pointrend.cli.common import (
    add_check_data_argument,
    add_common_arguments,
    non_negative_int,
    set_device,
)
from paddle_pointrend.cli.inference import add_inference_arguments, inference_options, inference_settings
from paddle_pointrend.cli.reports import (
    add_report_arguments,
    describe_run,
    finish_report,
    make_report_folder,
    with_source,
)
from paddle_pointrend.data import cityscapes, default_palette
from paddle_pointrend.deploy.deploy_file import is_exported
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import comparison_table
from paddle_pointrend.files import check_writable, write_json
from paddle_pointrend.paddleseg.configs import build, is_instance_config, load_config
from paddle_pointrend.paddleseg.datasets import check_every_sample, check_files
from paddle_pointrend.paddleseg.distributed import rank_and_size
from paddle_pointrend.paddleseg.evaluation import evaluate_predictions
from paddle_pointrend.paddleseg.models import load_model
from paddle_pointrend.paddleseg.reporting import measure_run, write_run_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments, named as in PaddleSeg's tools/val.py."""
    add_common_arguments(parser)
    add_inference_arguments(parser, "--aug_eval")
    add_check_data_argument(parser)
    parser.add_argument(
        "--num_workers", type=non_negative_int, default=0, help="processes that read data, default: 0, this one"
    )
    add_report_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="write the measures there too, as numbers from 0 to 1")


def run(args: argparse.Namespace) -> int:
    """Evaluates; returns the exit code."""
    if args.json:
        _check_writable(args.json)
    set_device(args.device)
    config = load_config(args.config, opts=args.opts)
    if is_instance_config(config):
        measured = instances.val(args, config)
        _write_json(args, measured)
        return 0
    if args.model_path and is_exported(args.model_path):
        raise UsageError(
            f"--model_path {args.model_path} is an exported folder, which predict takes; val takes trained weights, "
            "a .pdparams file or the folder that holds it"
        )
    model = load_model(config, args.model_path)
    settings = inference_settings(args, config.test_config, "aug_eval")
    options = inference_options(settings)
    dataset = build(SegBuilder(config), args.config, "val_dataset")
    check_files(dataset, "val_dataset")
    if args.check_data:
        check_every_sample(dataset, "val_dataset")
    names = class_names(config, dataset)
    measures = None
    if args.report:
        make_report_folder(args.report)
        measures = measure_run(model, dataset, options, num_workers=args.num_workers)
        summaries = measures.summaries
    else:
        summaries = evaluate_predictions(model, dataset, options, num_workers=args.num_workers)
    measured = {"images": len(dataset), "classes": names, "inference": settings, "predictions": summaries}
    if rank_and_size()[0] == 0:
        print(comparison_table(summaries, names))
        _write_json(args, measured)
    if measures is not None:
        _write_report(args, model, dataset, measures, measured)
    return 0


def _write_report(args, model, dataset, measures, measured):
    """Writes the folder of --report."""
    settings = measured["inference"]
    is_cityscapes = type(dataset).__name__ == "Cityscapes"
    averages = settings["augment"] or settings["is_slide"]
    pictures = {"inference": str(settings), "pictures": "of one pass an image; the measures are not"}
    written = write_run_report(
        args.report,
        model,
        dataset,
        measures,
        class_names=measured["classes"] or [f"class {i}" for i in range(dataset.num_classes)],
        palette=cityscapes.PALETTE if is_cityscapes else default_palette(dataset.num_classes),
        **describe_run(args, len(dataset), **(pictures if averages else {})),
    )
    finish_report(args, written, measured)


def class_names(config: Config, dataset: Dataset) -> list[str] | None:
    """Finds the config's `class_names`, or Cityscapes' for that dataset, or None. UsageError if they do not fit."""
    names = config.dic.get("class_names")
    if names is None and type(dataset).__name__ == "Cityscapes":
        names = cityscapes.CLASSES
    if names is not None and len(names) != dataset.num_classes:
        raise UsageError(f"class_names has {len(names)} names, the dataset {dataset.num_classes} classes")
    return None if names is None else list(names)


def _write_json(args, measured):
    """Writes --json; `measured` is None but in the first process."""
    if not args.json or measured is None:
        return
    try:
        write_json(args.json, with_source(args, measured))
    except OSError as error:
        raise UsageError(f"--json {args.json}: cannot write this file: {error.strerror}") from error
    logger.info(f"The measures are in {args.json}")


def _check_writable(path):
    """Makes the folder of --json and tries to write there: before the work rather than after it."""
    try:
        pathlib.Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
        check_writable(path)
    except OSError as error:
        raise UsageError(f"--json {path}: cannot write this file: {error.strerror}") from error
