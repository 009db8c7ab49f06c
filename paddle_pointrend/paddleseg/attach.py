"""Puts PointRend on a trained model: the config that trains a point head on it, frozen."""

from __future__ import annotations

import copy
import inspect
import os
import pathlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paddle
import yaml
from paddle import nn
from paddleseg.cvlibs import SegBuilder

from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.files import write_whole
from paddle_pointrend.models.layer_maps import FINE_STRIDE
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.paddleseg.configs import build, drop_pretrained, load_config
from paddle_pointrend.paddleseg.models import load_trained_weights, weights_file

ITERS = 1000
LEARNING_RATE = 0.001
SIZES = ((97, 131), (110, 200))  # of the images that show whether a model runs at any size
DIVISORS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Attached:
    """PointRend on a trained model.

    Attributes:
        host: the name of the trained model's class.
        changes: what the new config changes of the model's own, in the order of writing; see `write_config`.
        reads: where coarse logits and fine features come from, in words.
        model: what the new config describes, with the trained weights and PointRend's head at its start: a
            PointRendSeg, or a MaskRCNN.
    """

    host: str
    changes: dict[str, Any]
    reads: str
    model: nn.Layer


def attach_pointrend(
    config: str | os.PathLike,
    weights: str | os.PathLike,
    *,
    iters: int | None = None,
    learning_rate: float = LEARNING_RATE,
    coarse: str | None = None,
    fine: Sequence[str] | None = None,
) -> Attached:
    """Works out the config that puts PointRend on a trained model, and checks it: the model is built and run.

    Args:
        config: the YAML config of the trained model.
        weights: as of `load_model`.
        iters: of the point head's training; None for ITERS, or the config's where those are fewer.
        learning_rate: at the start of that training.
        coarse: the sublayer whose output is the coarse logits, None for the one that is found.
        fine: the sublayers whose outputs are the fine features, fine to coarse, None for the one that is found.

    Raises:
        UsageError: a config, weights or sublayers that do not fit, or a model that PointRend cannot be put on.
    """
    base_config = load_config(config)
    host_config = copy.deepcopy(base_config.dic["model"])  # before the model is built, which adds to it
    host = _load_host(config, base_config, weights)
    taps = {name: paths for name, paths in (("coarse", coarse), ("fine", fine and list(fine))) if paths}
    model_options = _model_options(base_config, host_config, weights)
    if taps or _has_no_finer_features(host):
        model_options["taps"] = taps
    changes = _changes(base_config, model_options, iters or min(ITERS, base_config.iters), learning_rate)
    model = _build_changed(config, changes)
    if _tensor_bytes(model.segmentor) != _tensor_bytes(host):
        raise UsageError(f"--config {config}: {_name(host)} does not load all of its `pretrained` weights")
    changes["model"].update(_measured_options(model, config))
    return Attached(_name(host), changes, _describe(model), model)


def write_config(path: str | os.PathLike, base: str | os.PathLike, changes: dict[str, Any], comment: str) -> None:
    """Writes a YAML config that inherits another one.

    Args:
        path: the file to write.
        base: the config that it inherits.
        changes: key -> value, a paragraph each.
        comment: the head of the file, without "#".

    Raises:
        OSError: the file cannot be written.
    """
    # Between real folders: "../" after a symbolic link leads elsewhere.
    folder, name = os.path.split(base)
    base = os.path.join(os.path.realpath(folder), name)
    base = pathlib.Path(os.path.relpath(base, os.path.dirname(os.path.realpath(path)))).as_posix()
    parts = ["".join(f"# {line}\n" for line in comment.splitlines()), _to_yaml({"_base_": base})]
    parts += [_to_yaml({key: value}) for key, value in changes.items()]
    write_whole(path, "\n".join(parts).encode())


def new_schedule(learning_rate: float) -> dict[str, dict]:
    """Returns the optimizer and schedule of a head's training, as a config has them, in the place of inherited ones."""
    decay = {"type": "PolynomialDecay", "learning_rate": learning_rate, "end_lr": 0, "power": 0.9}
    new = {"optimizer": {"type": "AdamW", "weight_decay": 0.01}, "lr_scheduler": decay}
    return {key: {"_inherited_": False, **value} for key, value in new.items()}


def _load_host(path, config, weights):
    """Builds the trained model. UsageError if it cannot be one that PointRend is put on."""
    drop_pretrained(config.dic["model"])
    host = build(SegBuilder(config), path, "model")
    if isinstance(host, PointRendSeg):
        raise UsageError(f"--config {path}: its model is a PointRendSeg already")
    if "pretrained" not in inspect.signature(type(host).__init__).parameters:
        raise UsageError(f"--config {path}: {_name(host)} has no argument `pretrained`, which would bring its weights")
    load_trained_weights(host, weights, config.dic["model"].get("num_classes"))
    return host


def _has_no_finer_features(host):
    """Tells whether what a model has for PointRend is no finer than its coarse logits, as a pyramid without P2."""
    return hasattr(host, "forward_features") and min(host.fine_strides) >= host.coarse_stride > FINE_STRIDE


def _model_options(config, host, weights):
    """The new config's `model`. host: the trained model's, as its config has it."""
    drop_pretrained(host)
    num_classes = host.pop("num_classes", None) or SegBuilder(config).train_dataset_class.NUM_CLASSES
    weights = weights_file(weights)
    model = {
        "type": "PointRendSeg",
        "num_classes": num_classes,
        "segmentor": {"type": host.pop("type"), "num_classes": num_classes, **host, "pretrained": weights},
    }
    return {**model, "freeze_segmentor": True, "point_head": {"start_from_coarse": True}}


def _changes(config, model, iters, learning_rate):
    """What the new config changes, a dict in the order of writing."""
    loss = {"type": "PointSampledCrossEntropyLoss"}
    weight = next(iter(config.loss_cfg["types"]), {}).get("weight")
    if isinstance(weight, list):  # the classes go on to weigh what they weighed
        loss["weight"] = weight
    new = {"model": model, "loss": {"types": [loss], "coef": [1]}}
    whole = {key: {"_inherited_": False, **value} for key, value in new.items()}
    return {"iters": iters, **whole, **new_schedule(learning_rate)}


def _build_changed(path, changes):
    """Builds the new config's model, read from YAML as it will be."""
    with tempfile.TemporaryDirectory() as folder:
        draft = pathlib.Path(folder, "draft.yml")
        draft.write_text(_to_yaml({"_base_": os.path.abspath(path), **changes}), encoding="utf-8")
        config = load_config(draft)
    return build(SegBuilder(config), path, "model")


def _measured_options(model, path):
    """Options of PointRendSeg as measured with the trained weights: nothing is left to find with random ones."""
    options = {}
    if model.taps is not None:
        options["taps"] = {"coarse": model.taps.coarse, "fine": model.taps.fine}
        if model.taps.coarse is None:  # the model's output
            del options["taps"]["coarse"]
    divisor = _find_size_divisor(model, path)
    return {**options, "size_divisor": divisor} if divisor > 1 else options


@paddle.no_grad()
def _find_size_divisor(model, path):
    """Finds the smallest with which the model runs at any size, and sets it; UsageError if none does."""
    model.eval()
    channels = getattr(model.taps or model.segmentor, "in_channels", 3)
    for model.size_divisor in DIVISORS:
        try:
            for size in SIZES:
                model(paddle.zeros([1, channels, *size]))
            return model.size_divisor
        except Exception as error:  # whatever a model fails with at a size that it does not take
            failure = error
    raise UsageError(f"--config {path}: with PointRend the model fails: {one_line(failure)}") from failure


def _describe(model):
    """Says where coarse logits and fine features come from."""
    source = model.taps or model.segmentor
    coarse, fine = "forward_features", ["forward_features"] * len(source.fine_channels)
    if model.taps is not None:
        coarse, fine = source.coarse or "the model's output", source.fine
    strides = getattr(source, "fine_strides", ["?"] * len(fine))
    maps = [
        f"{path} ({channels} channels, stride {stride})"
        for path, channels, stride in zip(fine, source.fine_channels, strides)
    ]
    lines = [
        f"Coarse logits: {coarse} (stride {source.coarse_stride}). Fine features: {', '.join(maps)}.",
        f"Subdivision steps: {len(model.num_subdivision_points)}.",
    ]
    if model.size_divisor > 1:
        lines[1] += f" Images are padded to multiples of {model.size_divisor}, because it does not run at every size."
    return "\n".join(lines)


class _Dumper(yaml.SafeDumper):
    """As the other configs are written: no anchors, lists indented, those of numbers on one line."""

    def ignore_aliases(self, data):
        return True

    def represent_sequence(self, tag, sequence, flow_style=None):
        return super().represent_sequence(tag, sequence, not any(isinstance(item, (dict, list)) for item in sequence))

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


def _to_yaml(content):
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _tensor_bytes(model):
    return {key: tensor.numpy().tobytes() for key, tensor in model.state_dict().items()}


def _name(model):
    return type(model).__name__
