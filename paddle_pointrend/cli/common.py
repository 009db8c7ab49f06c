"""What the commands share: mistakes as one line, devices, configs, datasets."""

import argparse
import difflib
import pathlib
import re
import tempfile

import paddle
import yaml
from paddleseg.cvlibs import Config, manager
from paddleseg.utils import logger

import paddle_pointrend


class UsageError(ValueError):
    """A mistake in what was asked: main prints it as one line and exits with 2."""


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, not the usage and a line."""

    def error(self, message):
        raise UsageError(f"{message}; {self.prog} --help lists the arguments")


def one_line(error):
    """The useful part of an exception's message, without PaddleSeg's wrapping and line breaks."""
    message = str(error).strip()
    wrapped = re.match(r"(Tried to create a (?P<name>\w*) object|Sanity check on|Create \w+ has failed)", message)
    if wrapped and error.__context__ is not None:
        name = wrapped["name"]
        return (f"{name}: " if name else "") + one_line(error.__context__)
    if isinstance(error, KeyError):
        message = f"key {message} is missing"
    unknown = re.match(r"The specified component \((.*)\) was not found", message)
    if unknown:
        message = _unknown_component(unknown[1])
    return " ".join(message.split()) or type(error).__name__


def _unknown_component(name):
    registries = (
        manager.MODELS,
        manager.BACKBONES,
        manager.DATASETS,
        manager.TRANSFORMS,
        manager.LOSSES,
        manager.OPTIMIZERS,
    )
    known = [known for registry in registries for known in registry.components_dict]
    close = difflib.get_close_matches(name, known, n=3)
    return f"there is no component named {name}" + (f"; did you mean {', '.join(close)}?" if close else "")


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


def rank_and_size():
    """This process's number and how many PaddlePaddle's launcher started; (0, 1) without it."""
    environment = paddle.distributed.ParallelEnv()
    return environment.rank, environment.world_size


def load_config(path, **overrides):
    """PaddleSeg's Config of a YAML file; whatever is wrong with it is a UsageError."""
    if not pathlib.Path(path).is_file():
        raise UsageError(f"--config {path}: there is no such file")
    if not path.endswith(("yml", "yaml")):
        raise UsageError(f"--config {path}: expected a .yml or .yaml file")
    try:
        config = Config(path, **overrides)
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is not valid YAML: {one_line(error)}") from error
    except FileNotFoundError as error:
        raise UsageError(f"--config {path}: no file {error.filename}, which its _base_ names") from error
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        # PaddleSeg trusts the file's structure, so these are what a list for a dict, say, ends in.
        raise UsageError(f"--config {path}: {one_line(error)}") from error
    for key in ("batch_size", "iters"):
        value = config.dic[key]
        if type(value) is not int or value < 1:
            raise UsageError(f"--config {path}: {key} is {value!r}, expected an integer of at least 1")
    return config


def make_save_dir(save_dir):
    """Makes the folder of --save_dir. UsageError if it cannot be made or nothing can be written into it."""
    try:
        pathlib.Path(save_dir).mkdir(parents=True, exist_ok=True)  # PaddleSeg would delete a file of that name
        tempfile.TemporaryFile(dir=save_dir).close()
    except OSError as error:
        raise UsageError(
            f"--save_dir {save_dir}: cannot make this folder or write into it: {error.strerror}"
        ) from error


def build(config, path, part):
    """A part of PaddleSeg's SegBuilder: "model", "train_dataset", "val_dataset", "optimizer", "loss".

    Args:
        config: a SegBuilder of the config; it keeps what it has built.
        path: the config's path, for messages.
        part: the builder's attribute.

    Raises:
        UsageError: what the config asks for does not exist or does not fit.
    """
    try:
        built = getattr(config, part)
        if part.endswith("dataset") and len(built) == 0:
            raise UsageError("its list file names no images")
        return built
    except (AssertionError, KeyError, OSError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error.__context__, (NameError, ArithmeticError, ImportError)):
            raise  # PaddleSeg wraps whatever a constructor raises, a fault of the program too
        raise UsageError(f"--config {path}: {part}: {one_line(error)}") from error
