"""PaddleSeg's YAML configs, and what they describe, with every mistake as a UsageError of one line."""

from __future__ import annotations

import contextlib
import difflib
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from paddleseg.cvlibs import Config, SegBuilder, manager
from paddleseg.cvlibs.config import merge_config_dicts
from paddleseg.cvlibs.config_checker import ConfigChecker, Rule
from paddleseg.utils.utils import CachedProperty

from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.paddleseg.reading import build_dataset
from paddle_pointrend.yaml_files import read_yaml

_MOST_FILES = 100  # that a config inherits

INSTANCE_MODELS = ("MaskRCNN",)


def load_config(path: str | os.PathLike, opts: Sequence[str] | None = (), **overrides: Any) -> Config:
    """Reads a YAML file, and what it inherits from, as PaddleSeg's Config.

    Args:
        path: a .yml or .yaml file.
        opts: changes, "KEY=VALUE" strings as of --opts; a key's dots lead into dicts.
        overrides: PaddleSeg's `learning_rate`, `iters` and `batch_size`; None leaves the file's value.

    Raises:
        UsageError: whatever is wrong with the file or the changes.
    """
    path = os.fspath(path)
    if not pathlib.Path(path).is_file():
        raise UsageError(f"--config {path}: there is no such file")
    if not path.endswith(("yml", "yaml")):
        raise UsageError(f"--config {path}: expected a .yml or .yaml file")
    try:
        content = _read_with_bases(path, [])
        checker = _InstanceChecker() if _is_of_instances(content) else None
        config = _SafeConfig(path, opts=list(opts) if opts else None, checker=checker, **overrides)
    except UsageError as error:
        raise UsageError(f"--config {error}") from error
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        # PaddleSeg trusts the file's structure, so these are what a list for a dict, say, ends in.
        raise UsageError(f"--config {path}: {_reason(error)}") from error
    for key in ("batch_size", "iters"):
        value = config.dic[key]
        if type(value) is not int or value < 1:
            raise UsageError(f"--config {path}: {key} is {value!r}, expected an integer of at least 1")
    for key, kinds, expected in (
        ("test_config", (dict,), "a dict"),
        ("class_names", (list, type(None)), "a list of names"),
    ):
        if key in config.dic and not isinstance(config.dic[key], kinds):
            raise UsageError(f"--config {path}: {key} is {config.dic[key]!r}, expected {expected}")
    for loss in _losses_in(config.dic.get("loss")):
        _check_loss_of_older_configs(path, loss)
    config.path = path  # for messages about what the config describes
    return config


def files_of(path: str | os.PathLike) -> list[str]:
    """Lists a YAML config and all files that it inherits. UsageError as of `load_config`."""
    files: list[str] = []
    _read_with_bases(os.fspath(path), files)
    return files


def is_instance_config(config: Config) -> bool:
    """Tells whether a config's model finds instances, which have their own data sets, training and evaluation."""
    return _is_of_instances(config.dic)


class InstanceBuilder(SegBuilder):
    """Builds the parts of a config of instances. PaddleSeg's asks the data set's class how many classes there are."""

    @CachedProperty
    def model(self) -> Any:
        """The network."""
        return self.build_component(self.config.model_cfg)


def make_builder(config: Config) -> SegBuilder:
    """Makes the builder of a config's parts, of labels or of instances."""
    return InstanceBuilder(config) if is_instance_config(config) else SegBuilder(config)


def build(builder: SegBuilder, path: str | os.PathLike, part: str) -> Any:
    """Builds a part of a config: "model", "train_dataset", "val_dataset", "val_transforms", "optimizer", "loss".

    Args:
        builder: PaddleSeg's, of the config; it keeps what it has built.
        path: the config's path, for messages.
        part: the builder's attribute.

    Raises:
        UsageError: what the config asks for does not exist or does not fit.
    """
    with naming_part(path, part):
        if not part.endswith("dataset"):
            return getattr(builder, part)
        options = builder.config.dic.get(part)
        options = options if isinstance(options, dict) else {}
        root = options.get("dataset_root")
        if isinstance(root, str) and not os.path.isdir(root):
            raise UsageError(f"there is no folder {root}, its dataset_root; docs/data.md says where data comes from")
        if is_instance_config(builder.config):
            return getattr(builder, part)
        dataset = build_dataset(lambda: getattr(builder, part), options.get("separator", " "))
        if len(dataset) == 0:
            raise UsageError("its list file names no images")
        if dataset.num_classes < 2:
            raise UsageError("num_classes is 1, which leaves nothing to tell apart: the background is a class too")
        return dataset


@contextlib.contextmanager
def naming_part(path: str | os.PathLike, part: str) -> Iterator[None]:
    """Turns what PaddleSeg raises inside, for a wrong config, into a UsageError that names the config and its part."""
    try:
        yield
    except (AssertionError, KeyError, OSError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error.__context__, (NameError, ArithmeticError, ImportError)):
            raise  # PaddleSeg wraps whatever a constructor raises, a fault of the program too
        raise UsageError(f"--config {path}: {part}: {_reason(error)}") from error


def as_config(config: str | os.PathLike | Config, opts: Sequence[str] | None = ()) -> Config:
    """Reads a YAML file with `load_config`; a Config stays as it is. UsageError for opts of a Config."""
    if not isinstance(config, Config):
        return load_config(config, opts=opts)
    if opts:
        raise UsageError(f"opts change a YAML file as it is read: pass {list(opts)} to load_config")
    return config


def path_of(config: Config) -> str:
    """Tells the path that `load_config` read a Config from, for messages."""
    return getattr(config, "path", "given")


def drop_pretrained(model_config: Any) -> None:
    """Removes every `pretrained` from a config's model, in place.

    Where trained weights follow, those files would be read or downloaded only to be overwritten.
    """
    if isinstance(model_config, dict):
        model_config.pop("pretrained", None)
        for value in model_config.values():
            drop_pretrained(value)


class _InstanceRule(Rule):
    """The parts that a training of instances needs: no loss, which is a part of the network."""

    def check_and_correct(self, cfg: Config) -> None:
        for key in ("batch_size", "iters", "train_dataset", "optimizer", "lr_scheduler", "model"):
            assert key in cfg.dic, f"No {key} specified in the configuration file."


class _InstanceChecker(ConfigChecker):
    def __init__(self):
        super().__init__([_InstanceRule()])


def _is_of_instances(content: Any) -> bool:
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and model.get("type") in INSTANCE_MODELS


class _SafeConfig(Config):
    """PaddleSeg's Config, whose files are read as untrusted ones."""

    @classmethod
    def _parse_from_yaml(cls, path, *args, **kwargs):
        return _read_with_bases(path, [])


def _read_with_bases(path, files, heirs=()):
    """Reads a config with what it inherits, as PaddleSeg merges it; notes the files that it reads."""
    real = os.path.realpath(path)
    if real in heirs or len(files) >= _MOST_FILES:
        raise UsageError(f"{path}: its _base_ leads back to itself" if real in heirs else f"{path}: too many _base_")
    files.append(path)
    content = read_yaml(path)
    bases = content.pop("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise UsageError(f"{path}: _base_ is {bases!r}, expected a file or a list of files")
    for base in bases:
        file = os.path.join(os.path.dirname(path), base)
        if not os.path.isfile(file):
            raise UsageError(f"{path}: no file {file}, which its _base_ names")
        content = merge_config_dicts(content, _read_with_bases(file, files, (*heirs, real)))
    return content


def _losses_in(part):
    """Yields each dict with a type below a part of the config, those inside MixedLoss too."""
    if isinstance(part, dict) and "type" in part:
        yield part
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    for value in values:
        yield from _losses_in(value)


def _check_loss_of_older_configs(path, loss):
    """Raises UsageError for what older PaddleSegs took, with what to write now."""
    if loss.get("weight") == "dynamic":
        raise UsageError(
            f"--config {path}: loss: weight: dynamic is of an older PaddleSeg; write a number for each class, "
            "weight: [1.0, 2.0, ...], or leave it out"
        )
    if loss["type"] == "FocalLoss" and "num_classes" in loss:
        raise UsageError(
            f"--config {path}: loss: FocalLoss takes no num_classes, it is for two classes; leave num_classes out, or "
            f"write type: MultiClassFocalLoss, num_class: {loss['num_classes']}"
        )


def _reason(error: BaseException) -> str:
    """The useful part of an exception's message, without what PaddleSeg's builder wraps around it."""
    message = str(error).strip()
    wrapped = re.match(r"(Tried to create a (?P<name>\w*) object|Sanity check on|Create \w+ has failed)", message)
    if wrapped and error.__context__ is not None:
        name = wrapped["name"]
        return (f"{name}: " if name else "") + _reason(error.__context__)
    unknown = re.match(r"The specified component \((.*)\) was not found", message)
    return _unknown_component(unknown[1]) if unknown else one_line(error)


def _unknown_component(name: str) -> str:
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
