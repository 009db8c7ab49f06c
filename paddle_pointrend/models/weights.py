"""Reads weights that paddle.save wrote, compares them with a layer, loads them as a start of training.

Trained weights, to predict with, are loaded by paddleseg.load_model; a training goes on by paddleseg.checkpoints.
"""

from __future__ import annotations

import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from paddle import nn

from paddle_pointrend.downloads import fetch_weights, is_url
from paddle_pointrend.models.paddle_files import RefusedError, load_paddle_file

_PICKLE = b"\x80"  # what one begins with
_LOGGER = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A file of weights that cannot be used; the message says why and what to do."""


class UnreadableError(CheckpointError):
    """A file of weights that is missing or half-written, whatever model it is of."""


def read_state(file: str | os.PathLike) -> dict[str, Any]:
    """Reads a dict of tensors that paddle.save wrote, or a .safetensors file; nothing in it is executed.

    Raises:
        UnreadableError: the file is missing, half-written or something else.
        CheckpointError: it asks for more than tensors, and is refused.
    """
    if not pathlib.Path(file).is_file():
        raise UnreadableError(f"{file}: there is no such file")
    if not os.fspath(file).endswith(".safetensors"):
        with open(file, "rb") as opened:
            if opened.read(1) not in (b"", _PICKLE):
                expected = "expected a .pdparams file, as paddle.save writes it, or a .safetensors file"
                raise UnreadableError(f"{file} is not a file of weights, {expected}")
    try:
        state = load_paddle_file(file)
    except RefusedError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except Exception as error:  # a damaged pickle can fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"{file} cannot be read, it may be half-written: {reason}") from error
    if not isinstance(state, dict):
        raise UnreadableError(f"{file} holds a {type(state).__name__}, expected the tensors of a checkpoint")
    return state


def describe_mismatch(model: nn.Layer, state: Mapping[str, Any], num_classes: int | None = None) -> str:
    """Says why the tensors of a checkpoint cannot be this model's, naming the first few; "" if they can.

    Args:
        model: the layer.
        state: name -> tensor or array.
        num_classes: the model's, for the message when the checkpoint has another number.
    """
    missing, extra, shapes = compare_state(model, state)
    reasons = []
    if missing:
        reasons.append(f"{len(missing)} of {len(model.state_dict())} tensors are missing: {', '.join(missing[:3])}")
    if extra:  # with all others in place too: the same layers put together in another way
        reasons.append(f"{len(extra)} tensors are of layers that the model lacks: {', '.join(map(str, extra[:3]))}")
    if shapes:
        named = (f"{key} {found} instead of {expected}" for key, (found, expected) in list(shapes.items())[:3])
        reasons.append(f"{len(shapes)} tensors have another shape: {', '.join(named)}")
        classes = {found[0] for found, expected in shapes.values() if found and expected[:1] == [num_classes]}
        if len(classes) == 1 and classes != {num_classes}:
            reasons.append(f"it was trained for {classes.pop()} classes, the model has {num_classes}")
    return "; ".join(reasons)


def compare_state(
    model: nn.Layer, state: Mapping[str, Any]
) -> tuple[list[str], list[str], dict[str, tuple[list[int], list[int]]]]:
    """Compares the names and shapes of a state dict with a model's.

    Returns:
        missing: names that only the model has.
        extra: names that only the state has.
        shapes: name -> (shape in the state, shape in the model) where they differ.
    """
    wanted = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    found = {key: list(getattr(tensor, "shape", [])) for key, tensor in state.items()}
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    both = [key for key in wanted if key in found]
    return missing, extra, {key: (found[key], wanted[key]) for key in both if found[key] != wanted[key]}


def load_pretrained(
    model: nn.Layer, path: str, *, new_part: str | None = None, class_factors: Sequence[int] = (1,)
) -> None:
    """Loads weights to start a training from, all or none.

    One difference is allowed: where the model has another number of classes than the weights, the tensors that
    depend on it keep their random values, and a warning names them.

    Args:
        model: the layer.
        path: a .pdparams or .safetensors file, or the https:// address of one.
        new_part: what the names of a part of the model begin with that may be another one in the file: then it keeps
            its random values.
        class_factors: by how many entries the axes of tensors grow with each class.

    Raises:
        CheckpointError: no such file, a file that cannot be read, weights of another network.
        UsageError: as of `fetch_weights`.
    """
    file = fetch_weights(path) if is_url(path) else path
    state = read_state(file)
    missing, extra, shapes = compare_state(model, state)
    if new_part is not None and any(name.startswith(new_part) for name in missing + extra):
        own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(new_part)}
        state = {name: tensor for name, tensor in state.items() if not name.startswith(new_part)} | own
        missing, extra, shapes = compare_state(model, state)
    differences = {a - b for found, expected in shapes.values() for a, b in zip(found, expected) if a != b}
    other_ranks = any(len(found) != len(expected) for found, expected in shapes.values())
    more_classes = min(differences, key=abs, default=0)
    other_widths = not differences <= {factor * more_classes for factor in class_factors} or any(
        len(expected) == 1 and not _counts_classes(model, expected[0], class_factors) for _, expected in shapes.values()
    )
    if missing or extra or other_ranks or other_widths:
        raise CheckpointError(
            f"pretrained: {file} does not belong to this {type(model).__name__}: {describe_mismatch(model, state)}"
        )
    if shapes:
        _LOGGER.warning(
            "%s was trained for another number of classes (%+d): %s start at random, %d tensors are loaded",
            file,
            more_classes,
            ", ".join(shapes),
            len(state) - len(shapes),
        )
    model.set_state_dict({key: tensor for key, tensor in state.items() if key not in shapes})


def _counts_classes(model, size, class_factors):
    """Tells whether a bias of this size is one for each class, or for each and the background."""
    parts = model.sublayers(include_self=True)
    counts = {part.num_classes + more for part in parts if hasattr(part, "num_classes") for more in (0, 1)}
    return any(size == factor * count for factor in class_factors for count in counts)
