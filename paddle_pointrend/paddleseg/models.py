"""A config's model with trained weights."""

from __future__ import annotations

import copy
import os
import pathlib
from collections.abc import Sequence

from paddle import nn
from paddleseg.cvlibs import Config
from paddleseg.utils import logger

from paddle_pointrend.downloads import fetch_weights, is_url
from paddle_pointrend.errors import UsageError
from paddle_pointrend.models.weights import UnreadableError, describe_mismatch, read_state
from paddle_pointrend.paddleseg.configs import as_config, build, drop_pretrained, make_builder, path_of

WEIGHTS, EMA_WEIGHTS, SHARED_WEIGHTS = "model.pdparams", "ema_model.pdparams", "model.safetensors"
_MOST_SHOWN = 5


def load_model(
    config: str | os.PathLike | Config, weights: str | os.PathLike, opts: Sequence[str] | None = ()
) -> nn.Layer:
    """Builds the model that a config describes and loads trained weights into it.

    Nothing that the config names as `pretrained` is read.

    Args:
        config: a YAML file, or what `load_config` read; it stays as it is.
        weights: a .pdparams or .safetensors file, the https:// address of one, or a folder as of `weights_file`.
        opts: changes of the YAML file, "KEY=VALUE" strings.

    Returns:
        The layer, in eval mode: images [N, C, H, W], normalised as the config's val_dataset says, to a list whose first
        entry is logits [N, K, H, W].

    Raises:
        UsageError: no weights, weights of another model, a config that is wrong.
        CheckpointError: no such file of weights, or one that cannot be read.
    """
    config = copy.deepcopy(as_config(config, opts))
    if not weights:
        raise UsageError("--model_path is missing: without trained weights the result would be random")
    drop_pretrained(config.dic.get("model"))
    model = build(make_builder(config), path_of(config), "model")
    load_trained_weights(model, weights, config.dic["model"].get("num_classes"))
    model.eval()
    return model


def load_trained_weights(model: nn.Layer, path: str | os.PathLike, num_classes: int | None = None) -> None:
    """Loads trained weights into a model, all or none. PaddleSeg's own loader only warns and leaves the rest random.

    Args:
        model: the layer.
        path: as of `load_model`.
        num_classes: the model's, for the message when the weights have another number.

    Raises:
        UnreadableError: no such file, or a file that cannot be read.
        UsageError: one whose tensors are not this model's.
    """
    file = fetch_weights(os.fspath(path)) if is_url(path) else weights_file(path)
    state = read_state(file)
    mismatch = describe_mismatch(model, state, num_classes)
    if mismatch:
        raise UsageError(f"{file} does not belong to this model: {mismatch}")
    model.set_state_dict(state)
    logger.info(f"Loaded {len(state)} tensors from {file}")


def weights_file(path: str | os.PathLike) -> str:
    """Names the file of weights that a path means: itself, or of a folder the first that `_weights_in` names.

    Raises:
        UnreadableError: a folder whose subfolders have the weights, as a training's.
    """
    folder = pathlib.Path(path)
    if not folder.is_dir():
        return os.fspath(path)
    found = _weights_in(folder)
    if found:
        return str(found[0])
    below = [files[0] for files in map(_weights_in, folder.iterdir()) if files]
    if below:
        below.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        names = ", ".join(str(file.parent) for file in below[:_MOST_SHOWN]) + (", ..." if below[_MOST_SHOWN:] else "")
        raise UnreadableError(f"{folder / WEIGHTS}: there is no such file; folders with weights, newest first: {names}")
    return str(folder / WEIGHTS)


def _weights_in(folder):  # PaddleSeg's ema_best_model/ holds the average alone
    return [folder / name for name in (WEIGHTS, EMA_WEIGHTS, SHARED_WEIGHTS) if (folder / name).is_file()]
