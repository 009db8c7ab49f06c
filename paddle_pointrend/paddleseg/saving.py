"""What PaddleSeg's trainer saves, made safe: files appear whole, and best_model is the best of the whole training.

The trainer writes in place, so that a killed run leaves half a file, and forgets the best score when it resumes.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import paddle
from paddleseg.utils import logger

from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.files import whole_file, write_json
from paddle_pointrend.paddleseg.checkpoints import OPTIMIZER
from paddle_pointrend.paddleseg.distributed import rank_and_size
from paddle_pointrend.paddleseg.models import WEIGHTS
from paddle_pointrend.paddleseg.resuming import EMA_WEIGHTS, Run, write_seed
from paddle_pointrend.run_state import locked_folder

SCORE = "score.json"  # beside the weights in best_model/ and ema_best_model/
BEST_FOLDERS = ("best_model", "ema_best_model")  # in the order in which the trainer evaluates


@contextlib.contextmanager
def safe_saving(
    save_dir: str | os.PathLike, *, resumes: bool, use_ema: bool = False, run: Run | None = None
) -> Iterator[None]:
    """Makes what PaddleSeg's trainer saves inside appear whole or not at all, and only a better best_model replace one.

    Args:
        save_dir: the trainer's.
        resumes: whether the run goes on from a checkpoint, so that a best_model in save_dir is of the same training.
        use_ema: whether the trainer keeps a moving average of the weights, which it evaluates too.
        run: what each iter_N holds beside the weights, if it is to be resumed exactly.
    """
    # As an attribute, paddleseg.core.train is the function; import_module finds the module of that name.
    trainer: Any = importlib.import_module("paddleseg.core.train")
    save, evaluate = paddle.save, trainer.evaluate
    best_before = _read_scores(save_dir) if resumes else {}
    # mIoU of this checkpoint, of the model and of the moving average.
    scores: collections.deque[float] = collections.deque(maxlen=1 + use_ema)

    def evaluate_and_note(*args, **kwargs):
        result = evaluate(*args, **kwargs)
        scores.append(float(result[0]))
        return result

    def save_whole(obj, path, *args, **kwargs):
        folder = pathlib.Path(path).parent
        score = scores[BEST_FOLDERS.index(folder.name)] if folder.name in BEST_FOLDERS else None
        if score is not None and score <= best_before.get(folder.name, -1.0):
            logger.info(f"{folder} stays: its mIoU from before the resume is {best_before[folder.name]:.4f}")
            return
        with one_line_if_unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            name = pathlib.Path(path).name
            if run is not None and folder.name not in BEST_FOLDERS:
                # model.pdopt comes last: a checkpoint that has one has everything.
                if name == WEIGHTS:
                    write_seed(folder, run.seed)
                elif name == OPTIMIZER and run.ema_model is not None:
                    save_whole(run.ema_model.state_dict(), folder / EMA_WEIGHTS)
            with whole_file(path) as draft:
                save(obj, str(draft), *args, **kwargs)
            if score is not None:
                write_json(folder / SCORE, {"miou": score})

    paddle.save, trainer.evaluate = save_whole, evaluate_and_note
    try:
        yield
    finally:
        paddle.save, trainer.evaluate = save, evaluate


@contextlib.contextmanager
def one_line_if_unwritable(folder: pathlib.Path) -> Iterator[None]:
    """Turns what the disk refuses inside, full or read-only, into a UsageError that names the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UsageError(f"{folder} cannot be written: {reason}; the checkpoints before it are whole") from error


def locked_for_training(save_dir: str | os.PathLike) -> contextlib.AbstractContextManager[None]:
    """Keeps other trainings out of a folder that the processes of one training share; raises as `locked_folder`."""
    return locked_folder(save_dir) if rank_and_size()[0] == 0 else contextlib.nullcontext()


def clear_for_training(save_dir: str | os.PathLike, *, resumes: bool) -> None:
    """Removes what a killed training was writing when it ended, and sets an earlier run aside unless this one resumes.

    The first process alone does it. Call it inside `locked_for_training`.
    """
    if rank_and_size()[0] != 0:
        return
    for pattern in ("iter_*", *BEST_FOLDERS):
        for draft in pathlib.Path(save_dir).glob(f"{pattern}/*.part"):
            draft.unlink()
    if not resumes:
        set_earlier_run_aside(save_dir)


def set_earlier_run_aside(save_dir: str | os.PathLike) -> pathlib.Path | None:
    """Moves the checkpoints of an earlier run into a folder of their own, before a new one starts in the same place.

    Else the new run could be resumed from the earlier one's last checkpoint, or reported with its best_model.

    Returns:
        save_dir/earlier_run_N; None where there are no checkpoints.
    """
    save_dir = pathlib.Path(save_dir)
    names = [*BEST_FOLDERS, *(path.name for path in save_dir.glob("iter_*") if re.fullmatch(r"iter_\d+", path.name))]
    found = [save_dir / name for name in names if (save_dir / name).is_dir()]
    if not found:
        return None
    number = next(i for i in itertools.count(1) if not (save_dir / f"earlier_run_{i}").exists())
    aside = save_dir / f"earlier_run_{number}"
    aside.mkdir()
    for path in found:
        path.rename(aside / path.name)
    logger.warning(
        f"{save_dir} held the checkpoints of an earlier run, which are in {aside} now; "
        "--resume_model auto goes on with a run instead"
    )
    return aside


def _read_scores(save_dir):
    """{folder's name: mIoU} of the best models of the run that is resumed."""
    scores = {}
    for name in BEST_FOLDERS:
        file = pathlib.Path(save_dir) / name / SCORE
        if not file.parent.is_dir():
            continue
        try:
            scores[name] = float(json.loads(file.read_text())["miou"])
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning(f"{file.parent} has no readable {SCORE}: the first evaluation will replace this model")
    return scores
