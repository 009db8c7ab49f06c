"""Finds and checks the checkpoints that a training can go on from: PaddleSeg's folders iter_N.

Each holds model.pdparams and model.pdopt.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from paddle import nn
from paddleseg.utils import logger

from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.models.weights import UnreadableError, describe_mismatch, read_state
from paddle_pointrend.paddleseg.models import WEIGHTS

OPTIMIZER = "model.pdopt"
# What Paddle raises, some of it at the first step, where an optimizer's state lacks something.
_INCOMPLETE = ("Optimizer set error", "state_dict is correct for optimizer")


def check_resumable(model: nn.Layer, folder: str | os.PathLike) -> None:
    """Checks that a training of the model can go on from a folder.

    Raises:
        UsageError: it is no iter_N, or of another model.
        UnreadableError: a file is missing or half-written.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    if iteration_of(folder) is None:
        raise UsageError(f"{folder}: PaddleSeg reads the iteration from the folder's name, expected iter_N")
    mismatch = describe_mismatch(model, read_state(folder / WEIGHTS))
    if mismatch:
        raise UsageError(f"{folder / WEIGHTS} does not belong to this model: {mismatch}")
    names = [parameter.name for parameter in model.parameters()]
    for key in read_state(folder / OPTIMIZER):
        # Paddle drops, without a word, what it cannot match by name.
        if key not in ("LR_Scheduler", "master_weights") and not key.startswith(tuple(f"{name}_" for name in names)):
            raise UsageError(f"{folder / OPTIMIZER} does not belong to this model: it has a state for {key}")


def folder_to_resume(
    model: nn.Layer, resume_model: str | os.PathLike | None, save_dir: str | os.PathLike
) -> pathlib.Path | None:
    """Finds the checkpoint folder that --resume_model names, and checks it; None to start anew.

    Args:
        model: the model that goes on.
        resume_model: a folder, "auto" for the newest whole one in save_dir, or None.
        save_dir: where this run writes its checkpoints.

    Raises:
        UsageError, UnreadableError: as `check_resumable` and `newest_checkpoint`.
    """
    if resume_model is None:
        return None
    if resume_model != "auto":
        check_resumable(model, resume_model)
        return pathlib.Path(resume_model)
    folder = newest_checkpoint(model, save_dir)
    if folder is None:
        logger.info(f"There is no checkpoint to resume in {save_dir}: starting anew")
    return folder


def newest_checkpoint(model: nn.Layer, save_dir: str | os.PathLike) -> pathlib.Path | None:
    """Finds the iter_N folder with the highest N in save_dir that loads whole, None if there is none.

    A run that was killed between the two files, or while PaddleSeg's own tools wrote in place, leaves half a
    checkpoint; that is skipped.

    Raises:
        UsageError: a whole checkpoint is of another model. Starting anew would write over that model's training.
    """
    numbered = ((iteration_of(folder), folder) for folder in pathlib.Path(save_dir).glob("iter_*"))
    for _, folder in sorted(((n, folder) for n, folder in numbered if n is not None), reverse=True):
        try:
            check_resumable(model, folder)
            return folder
        except UnreadableError as error:
            logger.warning(f"Skipped {folder}: {error}")
        except UsageError as error:
            raise UsageError(f"{error}; train into another --save_dir, or with that model's --config") from error
    return None


@contextlib.contextmanager
def naming_optimizer_state(checkpoint: pathlib.Path | None) -> Iterator[None]:
    """Turns what Paddle raises inside for an incomplete state of the optimizer into a UsageError, with its file."""
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if checkpoint is None or not any(known in str(error) for known in _INCOMPLETE):
            raise
        raise UsageError(
            f"{checkpoint / OPTIMIZER} does not fit this training: {one_line(error)}; go on from another checkpoint, "
            "or with the --config of this one"
        ) from error


def iteration_of(folder: str | os.PathLike) -> int | None:
    """Reads N from the name of a folder iter_N; None of any other."""
    name = re.fullmatch(r"iter_(\d+)", pathlib.Path(folder).name)
    return int(name[1]) if name else None


def is_finished(checkpoint: pathlib.Path, iters: int) -> bool:
    """Tells, in the log too, whether a checkpoint iter_N has all of a training's iterations."""
    finished = (iteration_of(checkpoint) or 0) >= iters
    if finished:
        logger.info(f"{checkpoint} has all of the {iters} iterations: nothing to train")
    return finished
