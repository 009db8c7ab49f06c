"""What the commands share: argument types, groups of arguments, the device, the folder to write into."""

import argparse
import os
import pathlib
import platform
import tempfile

import paddle
from paddleseg.utils import logger

import paddle_pointrend
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.files import check_writable


def positive_int(text: str) -> int:
    """Parses an integer of at least 1."""
    return _int_between(text, 1)


def non_negative_int(text: str) -> int:
    """Parses an integer of at least 0."""
    return _int_between(text, 0)


def positive_float(text: str) -> float:
    """Parses a finite number above 0."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from error
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def random_seed(text: str) -> int:
    """Parses an integer that Python, NumPy and Paddle all take as a seed, and that plus a rank too."""
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


def add_common_arguments(parser: argparse.ArgumentParser, *, exported: bool = False) -> None:
    """Adds --config, --opts, --device; `exported` is as of `add_config_arguments`."""
    add_config_arguments(parser, exported=exported)
    parser.add_argument(
        "--device",
        choices=["cpu", "gpu", "xpu", "npu", "mlu"],
        help="where to compute; default: gpu where Paddle finds one, else cpu",
    )


def add_check_data_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --check_data."""
    parser.add_argument(
        "--check_data", action="store_true", help="first read every image and label to its end, and check the labels"
    )


def add_config_arguments(parser: argparse.ArgumentParser, *, exported: bool = False) -> None:
    """Adds --config, --opts; --config may be left out where the command takes `exported` folders."""
    text = "YAML config of model, data and training" + "; an exported folder needs none" * exported
    parser.add_argument("--config", required=not exported, help=text)
    parser.add_argument(
        "--opts",
        nargs="+",
        metavar="KEY=VALUE",
        help="change the config, e.g. --opts train_dataset.num_classes=4",
    )


def set_device(device: str | None) -> str:
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


def make_save_dir(save_dir: str | os.PathLike) -> None:
    """Makes the folder of --save_dir. UsageError if it cannot be made or nothing can be written into it."""
    try:
        pathlib.Path(save_dir).mkdir(parents=True, exist_ok=True)  # PaddleSeg would delete a file of that name
        tempfile.TemporaryFile(dir=os.fspath(save_dir)).close()
    except OSError as error:
        raise UsageError(
            f"--save_dir {save_dir}: cannot make this folder or write into it: {error.strerror}"
        ) from error


def versions() -> dict[str, str]:
    """Tells the versions that a report names."""
    python = platform.python_version()
    return {"paddle_pointrend": paddle_pointrend.__version__, "Paddle": f"{paddle.__version__}, Python {python}"}


def check_output(path: str | os.PathLike) -> None:
    """Makes the folder of a file to be written, and tries to write there: before the work rather than after it.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        pathlib.Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
        check_writable(path)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: str | os.PathLike, error: OSError) -> UsageError:
    """Makes the UsageError of a file that could not be written."""
    return UsageError(f"{path}: cannot write this file: {error.strerror}")
