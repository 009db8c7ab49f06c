"""Trains a network of instances: a loop of our own on Paddle's optimizer, DataLoader and data parallel engine.

What an iteration draws by chance follows from the seed, its number and the process alone: so a training that goes on
from a checkpoint is the uninterrupted one.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import time

import paddle
from paddleseg.cvlibs import Config
from paddleseg.utils import logger, utils

from paddle_pointrend.errors import UsageError
from paddle_pointrend.files import whole_file, write_json
from paddle_pointrend.models.weights import read_state
from paddle_pointrend.paddleseg.checkpoints import (
    OPTIMIZER,
    folder_to_resume,
    is_finished,
    iteration_of,
    naming_optimizer_state,
)
from paddle_pointrend.paddleseg.configs import build, make_builder, path_of
from paddle_pointrend.paddleseg.distributed import join_processes, largest, rank_and_size
from paddle_pointrend.paddleseg.divergence import check_loss
from paddle_pointrend.paddleseg.instance_data import TrainingBatches, build_instance_dataset, read_batches
from paddle_pointrend.paddleseg.instance_evaluation import evaluate_instances
from paddle_pointrend.paddleseg.instance_log import TrainingLog
from paddle_pointrend.paddleseg.models import WEIGHTS
from paddle_pointrend.paddleseg.resuming import common_seed, read_seed, write_seed
from paddle_pointrend.paddleseg.saving import SCORE, clear_for_training, locked_for_training, one_line_if_unwritable
from paddle_pointrend.run_state import StoppedBySignalError, StopRequest, seed_computation


def train_instances(
    config: Config,
    save_dir: str | os.PathLike,
    *,
    do_eval: bool = False,
    resume_model: str | os.PathLike | None = None,
    seed: int | None = None,
    num_workers: int = 0,
    use_vdl: bool = False,
    save_interval: int = 1000,
    log_iters: int = 10,
    keep_checkpoint_max: int = 5,
) -> pathlib.Path:
    """Trains the network of a config of instances; writes iter_N/ into save_dir.

    Args:
        config: what `load_config` read.
        save_dir: a folder that exists.
        do_eval: whether to evaluate on val_dataset at every checkpoint, and to keep best_model/, by (refined) mask AP.
        resume_model: a folder iter_N to go on from, "auto" for the newest whole one in save_dir, None to start anew.
        seed: of everything random; None for one by chance, or that of the checkpoint.
        num_workers: processes that read data; 0 for this one.
        use_vdl: whether to write curves for VisualDL into save_dir.
        save_interval: iterations between checkpoints.
        log_iters: iterations between log lines.
        keep_checkpoint_max: checkpoints to keep, 0 for all.

    Returns:
        The folder with the last iteration's checkpoint.

    Raises:
        UsageError: data or a checkpoint that do not fit, another training in save_dir, a training that diverges.
        StoppedBySignalError: a SIGTERM or Ctrl-C came; the iteration was finished and saved.
    """
    rank, num_processes = rank_and_size()
    join_processes()
    # Optimizer states go by names that Paddle numbers: from 0, whatever was built before.
    with paddle.utils.unique_name.guard(), locked_for_training(save_dir), StopRequest().listening() as stop:
        seed = common_seed(seed)
        train_dataset, val_dataset, model, optimizer = _build_parts(config, do_eval, seed)
        checkpoint = folder_to_resume(model, resume_model, save_dir)
        start = 0
        if checkpoint is not None:
            if is_finished(checkpoint, config.iters):
                return checkpoint
            start, seed = _resume(model, optimizer, checkpoint, seed)
        clear_for_training(save_dir, resumes=checkpoint is not None)
        batches = TrainingBatches(
            train_dataset,
            config.batch_size,
            config.iters,
            seed=seed,
            start=start,
            rank=rank,
            num_processes=num_processes,
        )
        log = TrainingLog(
            save_dir,
            iters=config.iters,
            batch_size=config.batch_size,
            iters_per_epoch=max(1, len(batches.images) // (config.batch_size * num_processes)),
            use_vdl=use_vdl and rank == 0,
        )
        network = paddle.DataParallel(model) if num_processes > 1 else model
        network.train()
        saved: list[pathlib.Path] = []
        iterations = _iterations(network, optimizer, batches, start, num_workers, checkpoint)
        for iteration, losses, times in iterations:
            log.note(losses, *times)
            if iteration % log_iters == 0 and rank == 0:
                log.write(iteration, optimizer.get_lr())
            optimizer._learning_rate.step()
            signum = largest(stop.signum or 0)
            if iteration % save_interval and iteration < config.iters and not signum:
                continue
            if rank == 0:
                saved.append(_save(model, optimizer, seed, pathlib.Path(save_dir) / f"iter_{iteration}"))
                while len(saved) > keep_checkpoint_max > 0:
                    shutil.rmtree(saved.pop(0))
            if signum:
                largest(0)  # the launcher kills the others soon after one has ended: wait until the first has saved
                logger.warning(
                    f"Stopped by a signal after iteration {iteration}; --resume_model auto goes on from there"
                )
                raise StoppedBySignalError(signum)
            if val_dataset is not None:
                measured = _evaluate(network, model, val_dataset)
                if rank == 0:
                    _keep_best(model, measured, save_dir, iteration)
                    log.scalars("Evaluate", measured, iteration)
        log.close()
        return pathlib.Path(save_dir) / f"iter_{config.iters}"


def _build_parts(config, do_eval, seed):
    """The data sets, checked, the network and its optimizer. The same weights in all processes."""
    builder = make_builder(config)
    train_dataset = build_instance_dataset(builder, config, "train_dataset")
    val_dataset = build_instance_dataset(builder, config, "val_dataset") if do_eval else None
    utils.set_seed(seed)
    build(builder, path_of(config), "model")
    builder.model = utils.convert_sync_batchnorm(builder.model, paddle.get_device().split(":")[0])
    return train_dataset, val_dataset, builder.model, build(builder, path_of(config), "optimizer")


def _resume(model, optimizer, checkpoint, seed):
    """Loads a checkpoint; returns its iteration and the training's seed."""
    model.set_state_dict(read_state(checkpoint / WEIGHTS))
    with naming_optimizer_state(checkpoint):
        optimizer.set_state_dict(read_state(checkpoint / OPTIMIZER))
    saved = read_seed(checkpoint)
    seed = seed if saved is None else saved
    iteration = iteration_of(checkpoint)
    logger.info(f"Goes on from {checkpoint}, iteration {iteration}, seed {seed}")
    return iteration, seed


def _iterations(network, optimizer, batches, start, num_workers, checkpoint):
    """Trains; yields (iteration, {loss: value}, (seconds of reading, seconds of all)) after each optimizer step."""
    began = time.time()
    for iteration, (images, sizes, targets) in enumerate(read_batches(batches, num_workers), start=start + 1):
        read = time.time()
        seed_computation(batches.seed, batches.rank, iteration)
        try:
            losses = network(images, sizes, targets)
        except FloatingPointError as error:
            raise UsageError(f"iteration {iteration}: {error}") from error
        total = sum(losses.values())
        check_loss(float(total), iteration)
        total.backward()
        with naming_optimizer_state(checkpoint):
            optimizer.step()
        optimizer.clear_grad()
        ended = time.time()
        yield iteration, {name: float(loss) for name, loss in losses.items()}, (read - began, ended - began)
        began = time.time()


def _save(model, optimizer, seed, folder):
    """Writes a checkpoint, every file whole."""
    with one_line_if_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_seed(folder, seed)
        for name, state in ((OPTIMIZER, optimizer.state_dict()), (WEIGHTS, model.state_dict())):
            with whole_file(folder / name) as draft:
                paddle.save(state, str(draft))
    return folder


def _evaluate(network, model, dataset):
    """The figures of the log and the curves: AP of each kind, of the best prediction."""
    model.eval()
    best = list(evaluate_instances(model, dataset).values())[-1]
    network.train()
    return {f"{kind}_ap": best[kind]["ap"] or 0.0 for kind in best}


def _keep_best(model, measured, save_dir, iteration):
    """Logs an evaluation, and keeps its weights where no earlier one was better by mask AP."""
    figures = ", ".join(f"{name.replace('_ap', ' AP')} {100 * value:.2f}" for name, value in measured.items())
    logger.info(f"[EVAL] iter: {iteration}, {figures}")
    folder = pathlib.Path(save_dir) / "best_model"
    try:
        before = float(json.loads((folder / SCORE).read_text())["mask_ap"])
    except (OSError, ValueError, KeyError, TypeError):
        before = -1.0
    if measured["mask_ap"] > before:
        with one_line_if_unwritable(folder):
            folder.mkdir(exist_ok=True)
            with whole_file(folder / WEIGHTS) as draft:
                paddle.save(model.state_dict(), str(draft))
            write_json(folder / SCORE, {**measured, "iteration": iteration})
    else:
        logger.info(f"[EVAL] {folder} stays: its mask AP is {100 * before:.2f}")
