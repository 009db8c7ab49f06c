"""What val and predict share: the flags of augmentation and sliding window."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from paddleseg.utils import logger

from paddle_pointrend.cli.common import positive_int
from paddle_pointrend.errors import UsageError
from paddle_pointrend.inference import InferenceOptions

_AUGMENTATION = ("scales", "flip_horizontal", "flip_vertical")
_WINDOW = ("crop_size", "stride")
_FLAGS = {"window_stride": "--stride", "the window": "--crop_size", "scales": "--scales"}


def add_inference_arguments(parser: argparse.ArgumentParser, augment_flag: str, *, exported: bool = False) -> None:
    """Adds the flags; augment_flag is "--aug_eval" or "--aug_pred".

    With exported=True the help of --model_path tells of exported folders.
    """
    weights = "the trained weights, a .pdparams file or the folder that holds it"
    parser.add_argument("--model_path", help=weights + (", or a folder that export wrote" if exported else ""))
    parser.add_argument(augment_flag, action="store_true", help="average over --scales and flips")
    parser.add_argument("--scales", nargs="+", type=float, help=f"scales for {augment_flag}, default 1.0")
    parser.add_argument("--flip_horizontal", action="store_true", help=f"flip left to right too, with {augment_flag}")
    parser.add_argument("--flip_vertical", action="store_true", help=f"flip upside down too, with {augment_flag}")
    parser.add_argument("--is_slide", action="store_true", help="predict in a sliding window")
    for name in ("--crop_size", "--stride"):
        parser.add_argument(name, nargs=2, type=positive_int, metavar=("WIDTH", "HEIGHT"), help="for --is_slide")


def inference_settings(args: argparse.Namespace, test_config: Mapping[str, Any], augment_flag: str) -> dict[str, Any]:
    """Puts the arguments over the config's test_config.

    With augment_flag, or with --is_slide, the arguments alone say how; where test_config alone has it, each one that is
    given takes the place of test_config's.

    Args:
        args: parsed arguments.
        test_config: the config's, with PaddleSeg's keys.
        augment_flag: "aug_eval" or "aug_pred", a key of both.

    Returns:
        dict with "augment", "scales", "flip_horizontal", "flip_vertical", "is_slide", "crop_size", "stride".

    Raises:
        UsageError: scales in test_config that are no numbers.
    """
    settings = {key: test_config.get(key) for key in (*_AUGMENTATION, "is_slide", *_WINDOW)}
    settings["augment"] = test_config.get(augment_flag)
    for key, flag, names in (("augment", augment_flag, _AUGMENTATION), ("is_slide", "is_slide", _WINDOW)):
        given = {name: getattr(args, name) for name in names if getattr(args, name)}
        if getattr(args, flag):
            settings |= {key: True, **dict.fromkeys(names), **given}
        elif settings[key]:
            settings |= given
        elif given:
            logger.warning(f"{' and '.join(f'--{name}' for name in given)} without --{flag}: no effect")
    settings["scales"] = _numbers(settings["scales"])
    settings |= {key: bool(settings[key]) for key in ("augment", "flip_horizontal", "flip_vertical", "is_slide")}
    return settings


def _numbers(scales):
    scales = 1.0 if scales is None else scales
    try:
        return [float(scale) for scale in (scales if isinstance(scales, (list, tuple)) else [scales])]
    except (TypeError, ValueError) as error:
        raise UsageError(f"test_config.scales is {scales!r}, expected a number or a list of numbers") from error


def inference_options(settings: Mapping[str, Any]) -> InferenceOptions:
    """Makes InferenceOptions of `inference_settings`.

    Raises:
        UsageError: a window without size or stride, a stride that leaves gaps, a scale that is not above 0.
    """
    if settings["is_slide"] and not (settings["crop_size"] and settings["stride"]):
        raise UsageError("--is_slide needs --crop_size WIDTH HEIGHT and --stride WIDTH HEIGHT")
    window = {"window": settings["crop_size"], "window_stride": settings["stride"]} if settings["is_slide"] else {}
    names = ("scales", "flip_horizontal", "flip_vertical")
    augmentation = {name: settings[name] for name in names} if settings["augment"] else {}
    try:
        return InferenceOptions(**augmentation, **window)
    except ValueError as error:
        message = str(error)
        for name, flag in _FLAGS.items():
            message = message.replace(name, flag)
        raise UsageError(message) from error
