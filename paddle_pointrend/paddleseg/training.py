"""Trains a config's model with PaddleSeg's trainer, after its data was checked."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
from typing import Any

import numpy as np
import paddle
from paddleseg import core
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.utils import logger, train_profiler, utils

from paddle_pointrend.errors import UsageError
from paddle_pointrend.losses import PointSampledCrossEntropyLoss
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.paddleseg import checkpoints, profiler
from paddle_pointrend.paddleseg.configs import build, is_instance_config, path_of
from paddle_pointrend.paddleseg.datasets import StopOnError, check_every_sample, check_files, check_samples
from paddle_pointrend.paddleseg.distributed import largest, rank_and_size
from paddle_pointrend.paddleseg.divergence import ending_where_it_diverges
from paddle_pointrend.paddleseg.models import WEIGHTS
from paddle_pointrend.paddleseg.resuming import exact_continuation, start_run
from paddle_pointrend.paddleseg.saving import clear_for_training, locked_for_training, safe_saving
from paddle_pointrend.run_state import StoppedBySignalError, StopRequest


def train_model(
    config: Config,
    save_dir: str | os.PathLike,
    *,
    do_eval: bool = False,
    resume_model: str | os.PathLike | None = None,
    seed: int | None = None,
    num_workers: int = 0,
    repeats: int = 1,
    profiler_options: str | None = None,
    to_static_training: bool = False,
    check_data: bool = False,
    **trainer_options: Any,
) -> pathlib.Path:
    """Trains the model of a config on its train_dataset; PaddleSeg's trainer writes iter_N/ into save_dir.

    Args:
        config: what `load_config` read.
        save_dir: a folder that exists.
        do_eval: whether to evaluate on val_dataset at every checkpoint, and to keep best_model/.
        resume_model: a folder iter_N to go on from, "auto" for the newest whole one in save_dir, None to start anew.
        seed: of everything random; the same one repeats a training exactly on the same machine.
        num_workers: processes that read data; 0 for this one.
        repeats: how often an epoch goes through the images.
        profiler_options: of `profiler.parse_options`.
        to_static_training: whether to train a static graph, also where the config does not ask for one.
        check_data: whether to read all of the data first, instead of some samples.
        trainer_options: what else PaddleSeg's `train` takes: save_interval, log_iters, use_vdl, use_ema,
            keep_checkpoint_max, precision, amp_level.

    Returns:
        The folder with the last iteration's checkpoint.

    Raises:
        UsageError: data, labels or losses that do not fit, or a checkpoint that cannot be resumed;
            another process trains into save_dir; a training that diverges, unless in mixed precision.
        StoppedBySignalError: SIGTERM or Ctrl-C came; the iteration was finished and saved.
    """
    if is_instance_config(config):
        raise UsageError(f"--config {path_of(config)}: its model finds instances, which train_instances trains")
    parsed_options = parse_profiler_options(profiler_options)
    # Optimizer states go by parameter names, which Paddle numbers: from 0, whatever was built before.
    with paddle.utils.unique_name.guard(), locked_for_training(save_dir):
        parts = _build_parts(
            config, do_eval=do_eval, seed=seed, num_workers=num_workers, repeats=repeats, check_data=check_data
        )
        checkpoint = checkpoints.folder_to_resume(parts["model"], resume_model, save_dir)
        if checkpoint is not None and checkpoints.is_finished(checkpoint, config.iters):
            return checkpoint
        _prepare_profiler(parsed_options, config.iters, checkpoint)
        rank, _ = rank_and_size()
        clear_for_training(save_dir, resumes=checkpoint is not None)
        run = start_run(seed, rank, checkpoint)
        saving = safe_saving(
            save_dir, resumes=checkpoint is not None, use_ema=bool(trainer_options.get("use_ema", False)), run=run
        )
        stop = StopRequest()
        mixed = trainer_options.get("precision", "fp32") != "fp32"
        save_and_exit = functools.partial(_save_and_exit, parts, pathlib.Path(save_dir), run.start)
        try:
            with (
                checkpoints.naming_optimizer_state(checkpoint),
                saving,
                exact_continuation(run, parts["train_dataset"], stop, save_and_exit),
                stop.listening(),
                contextlib.nullcontext() if mixed else ending_where_it_diverges(parts["model"], run.start),
            ):
                core.train(
                    **parts,
                    save_dir=str(save_dir),
                    iters=config.iters,
                    batch_size=config.batch_size,
                    resume_model=None if checkpoint is None else str(checkpoint),
                    num_workers=num_workers,
                    test_config=config.test_config,
                    profiler_options=profiler_options,
                    to_static_training=to_static_training or config.to_static_training,
                    **trainer_options,
                )
        except (RuntimeError, ValueError) as error:
            if not any(known in str(error) for known in ("length of logits_list", "size_divisor is")):
                raise
            raise UsageError(f"--config {path_of(config)}: {error}") from error
    return pathlib.Path(save_dir) / f"iter_{config.iters}"


def parse_profiler_options(text: str | None) -> profiler.ProfilerOptions | None:
    """Reads --profiler_options; None where there are none, or where a PaddleSeg that works reads them itself.

    Raises:
        UsageError: an option that does not exist, or a value that it does not take.
    """
    if text is None or train_profiler.add_profiler_step is not profiler.add_profiler_step:
        return None
    try:
        return profiler.parse_options(text)
    except ValueError as error:
        raise UsageError(f"--profiler_options {error}") from error


def _save_and_exit(parts, save_dir, start, done, signum):
    """Saves iteration `done` of a run that began at `start` if PaddleSeg has not; raises StoppedBySignalError."""
    folder = save_dir / f"iter_{done}"
    rank, _ = rank_and_size()
    if rank == 0 and done > start and not (folder / checkpoints.OPTIMIZER).is_file():
        paddle.save(parts["model"].state_dict(), str(folder / WEIGHTS))
        paddle.save(parts["optimizer"].state_dict(), str(folder / checkpoints.OPTIMIZER))
    logger.info(f"Stopped by a signal after iteration {done}; the same command with --resume_model auto goes on")
    largest(0)  # the launcher kills the others soon after one has ended: wait until the first has saved
    raise StoppedBySignalError(signum)


def _prepare_profiler(options, iters, checkpoint):
    profiler.forget()  # an earlier training's in this process
    if options is None:
        return
    done = 0 if checkpoint is None else checkpoints.iteration_of(checkpoint)
    try:
        profiler.check_options(options, iters - done)
    except ValueError as error:
        raise UsageError(f"--profiler_options {error}") from error


def _build_parts(config, *, do_eval, seed, num_workers, repeats, check_data):
    """Builds what PaddleSeg's `train` takes, seeded and checked: model, datasets, optimizer, losses."""
    rank, size = rank_and_size()
    builder = SegBuilder(config)
    train_dataset = build(builder, path_of(config), "train_dataset")
    if check_data:
        check_every_sample(train_dataset, "train_dataset")
    if hasattr(train_dataset, "file_list"):
        train_dataset.file_list = train_dataset.file_list * repeats
    elif repeats > 1:
        raise UsageError(f"--repeats repeats a dataset's file_list, which {type(train_dataset).__name__} lacks")
    share = -(-len(train_dataset) // size)
    if share < config.batch_size:
        # PaddleSeg drops the last, smaller batch: with no other it would loop for ever.
        raise UsageError(f"batch_size {config.batch_size} is more than the {share} images of train_dataset a process")
    val_dataset = build(builder, path_of(config), "val_dataset") if do_eval else None
    if check_data and val_dataset is not None:
        check_every_sample(val_dataset, "val_dataset")
    for name, dataset in (("train_dataset", train_dataset), ("val_dataset", val_dataset)):
        if hasattr(dataset, "file_list"):
            check_files(dataset, name)
            check_samples(dataset, name)
    # Before the model is built, so that its weights repeat; the same in all processes: they start equal.
    utils.set_seed(seed)
    build(builder, path_of(config), "model")
    builder.model = utils.convert_sync_batchnorm(builder.model, paddle.get_device().split(":")[0])
    model, optimizer, losses = (build(builder, path_of(config), part) for part in ("model", "optimizer", "loss"))
    _check_losses(losses["types"], model, train_dataset.num_classes)
    utils.set_cv2_num_threads(num_workers)
    if seed is not None:  # from here on each process draws its own crops and points
        utils.set_seed(seed + rank)
    return {
        "model": model,
        "train_dataset": StopOnError(train_dataset, num_workers, config.batch_size),
        "val_dataset": val_dataset and StopOnError(val_dataset, num_workers),
        "optimizer": optimizer,
        "losses": losses,
    }


def _check_losses(types, model, num_classes):
    """Raises UsageError for losses that would fail at the first iteration."""
    if isinstance(model, PointRendSeg) and not isinstance(types[-1], PointSampledCrossEntropyLoss):
        raise UsageError(
            f"loss.types: the last one is {type(types[-1]).__name__}, expected PointSampledCrossEntropyLoss, which "
            "takes the points"
        )
    inner = [loss for outer in types for loss in getattr(outer, "losses", [outer])]  # MixedLoss has several
    for loss in inner:
        weight = getattr(loss, "weight", None)
        if weight is not None and np.ndim(weight) == 1 and len(weight) != num_classes:
            raise UsageError(
                f"loss.types: the weight of {type(loss).__name__} has {len(weight)} numbers, expected one for each of "
                f"the {num_classes} classes"
            )
