"""The Predictor that predict's arguments ask for: of trained weights or of an exported folder."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from paddleseg.cvlibs import Config
from paddleseg.utils import logger

from paddle_pointrend.cli.inference import inference_options
from paddle_pointrend.deploy.deploy_file import DeployFile, is_exported
from paddle_pointrend.deploy.description import describe_data
from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.preprocessing import only_normalizes
from paddle_pointrend.deploy.runtimes import EagerRuntime, exported_precision, fastest_runtime
from paddle_pointrend.deploy.trained_weights import choose_runtime, default_device
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.paddleseg.preprocessing import val_preprocessing


def load_predictor(
    args: argparse.Namespace, config: Config | None, settings: Mapping[str, Any], *, many_images: bool, in_parts: bool
) -> Predictor:
    """Loads the predictor of --model_path in the runtime of --runtime.

    By default that is the fastest runtime that is installed and computes in --precision; but trained weights stay in
    eager Paddle where there is little to predict in fp32, on another device than the CPU, and where the export fails.

    Args:
        args: parsed arguments.
        config: of --config; an exported folder's own val transforms take the place of its, and it needs none.
        settings: of `inference_settings`.
        many_images: whether there is so much to predict that an export pays.
        in_parts: whether there are images to read in parts.

    Raises:
        UsageError: no weights, weights or a folder that do not fit the config, a runtime that is not installed or does
            not fit, options that do not go together.
    """
    options = dataclasses.asdict(inference_options(settings))
    try:
        with _logged_by_paddleseg():
            precision = args.precision or "fp32"
            if args.model_path and is_exported(args.model_path):
                precision = exported_precision(args.model_path, args.precision)
                predictor = _of_export(args, config, settings, options, in_parts)
            else:
                predictor = _of_weights(args, config, options, many_images, in_parts)
        if in_parts:
            predictor.check_predicts_in_parts()
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    name = predictor.runtime.name
    if name != EagerRuntime.name:
        logger.info(f"Runtime: {name} on {args.device or default_device(name)} in {precision}")
    return predictor


def _of_weights(args, config, options, many_images, in_parts):
    transforms = describe_data(config.dic)["transforms"]
    if in_parts and not only_normalizes(transforms):
        raise UsageError(
            "an image that is read in parts is only normalised, but the val transforms are "
            f"{', '.join(str(transform.get('type')) for transform in transforms) or 'none'}: "
            "--opts val_dataset.transforms=... changes them"
        )
    precision = args.precision or "fp32"
    exports = many_images or precision != "fp32"
    runtime = args.runtime or (None if exports else EagerRuntime.name)
    options |= {"runtime": runtime, "device": args.device, "precision": precision}
    try:
        return Predictor.from_config(config, args.model_path, **options)
    except ExportError as error:
        name = runtime or choose_runtime(precision)
        raise UsageError(f"--runtime {name}: the model cannot be exported: {one_line(error)}") from error


def _of_export(args, config, settings, options, in_parts):
    folder = args.model_path
    if args.runtime == EagerRuntime.name:
        raise UsageError(f"--runtime paddle runs trained weights (.pdparams), but {folder} is exported")
    deploy = DeployFile.read(folder)
    if deploy.makes_labels and (settings["augment"] or settings["is_slide"]):
        raise UsageError(
            f"{folder} makes labels, which --aug_pred and --is_slide cannot average: export it with --output logits"
        )
    preprocess = None  # the predictor does them itself, or says what it does not do
    if config is not None:
        of_config = _preprocessing_of(deploy, config, args)
        if not in_parts and not (of_config.image_channels == 3 and only_normalizes(deploy.transforms)):
            preprocess = of_config
    runtime = args.runtime or fastest_runtime(folder, args.precision)
    options |= {"device": args.device or default_device(runtime), "precision": args.precision}
    return Predictor(folder, runtime=runtime, preprocess=preprocess, **options)


def _preprocessing_of(deploy, config, args):
    """PaddleSeg's own preprocessing of an exported folder's images, after a look at whether the config fits."""
    num_classes = (config.dic.get("model") or {}).get("num_classes")
    if num_classes not in (deploy.num_classes, None):
        raise UsageError(
            f"{args.model_path} has {deploy.num_classes} classes, the model of --config {args.config} {num_classes}"
        )
    dataset = config.dic.setdefault("val_dataset", {})
    if dataset.get("transforms") != deploy.transforms:
        logger.warning(f"{args.model_path} was exported with other val transforms than the config's: its own are used")
        dataset["transforms"] = deploy.transforms
    return val_preprocessing(config)


@contextlib.contextmanager
def _logged_by_paddleseg() -> Iterator[None]:
    """Hands what the package logs to PaddleSeg's logger, which prints for the commands."""
    log, handler = logging.getLogger("paddle_pointrend"), _PaddleSegHandler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class _PaddleSegHandler(logging.Handler):
    def emit(self, record):
        show = logger.warning if record.levelno >= logging.WARNING else logger.info
        show(record.getMessage())
