"""What the commands share: argument types, groups of arguments, the device, the folder to write into."""

import argparse
import pathlib
import tempfile

import paddle
from paddleseg.utils import logger

import paddle_pointrend
from paddle_pointrend.errors import UsageError, one_line


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, not the usage and a line."""

    def error(self, message):
        raise UsageError(f"{message}; {self.prog} --help lists the arguments")


def positive_int(text):
    """An argparse type: an integer of at least 1."""
    return _int_between(text, 1)


def non_negative_int(text):
    """An argparse type: an integer of at least 0."""
    return _int_between(text, 0)


def positive_float(text):
    """An argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from error
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def random_seed(text):
    """An argparse type: an integer that Python, NumPy and Paddle all take as a seed, and that plus a rank too."""
    return _int_between(text, 0, 2**31 - 1)


def _int_between(text, least, most=None):
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected an integer, got {text!r}") from error
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
    if most is not None and value > most:
        raise argparse.ArgumentTypeError(f"must be at most {most}, got {value}")
    return value


def add_common_arguments(parser):
    """--config, --opts, --device."""
    add_config_arguments(parser)
    parser.add_argument(
        "--device",
        choices=["cpu", "gpu", "xpu", "npu", "mlu"],
        help="where to compute; default: gpu where Paddle finds one, else cpu",
    )


def add_config_arguments(parser):
    """--config, --opts."""
    parser.add_argument("--config", required=True, help="YAML config of model, data and training")
    parser.add_argument(
        "--opts",
        nargs="+",
        metavar="KEY=VALUE",
        help="change the config, e.g. --opts train_dataset.num_classes=4",
    )


def set_device(device):
    """Selects a device (None for the default) and logs it, and what was set before Paddle was imported.

    Returns:
        The device's name.
    """
    if device is None:
        device = "gpu" if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() else "cpu"
    try:
        paddle.set_device(device)
    except (ValueError, RuntimeError, OSError) as error:
        raise UsageError(f"--device {device}: {one_line(error)}") from error
    settings = " ".join(paddle_pointrend.ENVIRONMENT_SET) or "nothing"
    logger.info(f"Device: {device}; set before Paddle was imported: {settings}")
    return device


def make_save_dir(save_dir):
    """Makes the folder of --save_dir. UsageError if it cannot be made or nothing can be written into it."""
    try:
        pathlib.Path(save_dir).mkdir(parents=True, exist_ok=True)  # PaddleSeg would delete a file of that name
        tempfile.TemporaryFile(dir=save_dir).close()
    except OSError as error:
        raise UsageError(
            f"--save_dir {save_dir}: cannot make this folder or write into it: {error.strerror}"
        ) from error
