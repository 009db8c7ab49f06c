"""A training that PaddleSeg's trainer goes on with equals one that was never stopped.

The trainer starts a new epoch at a resume, with other random numbers and a new moving average of the weights. Here its
reader starts where it was, and random numbers depend on the run's seed and the iteration or sample alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import json
import pathlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import paddle
from paddleseg.utils import logger

from paddle_pointrend.files import write_json
from paddle_pointrend.models.weights import read_state
from paddle_pointrend.paddleseg.checkpoints import iteration_of
from paddle_pointrend.paddleseg.distributed import gather, largest
from paddle_pointrend.run_state import StopRequest, obey_the_parent_alone, seed_computation, seed_sample

RUN = "run.json"  # beside the weights in iter_N
EMA_WEIGHTS = "ema_model.pdparams"


@dataclasses.dataclass
class Run:
    """What the iterations of a training share.

    Attributes:
        seed: of everything random.
        rank: of this process.
        checkpoint: the folder iter_N that the training goes on from, None for a new one.
        ema_model: the moving average, once the trainer made it.
    """

    seed: int
    rank: int = 0
    checkpoint: pathlib.Path | None = None
    ema_model: Any = None

    @property
    def start(self) -> int:
        """Iterations that are done already."""
        return 0 if self.checkpoint is None else iteration_of(self.checkpoint) or 0


def start_run(seed: int | None, rank: int, checkpoint: pathlib.Path | None) -> Run:
    """Takes the run's seed from the checkpoint, else the given one, else a random one, the same in all processes."""
    saved = None if checkpoint is None else read_seed(checkpoint, seed)
    return Run(common_seed(seed) if saved is None else saved, rank, checkpoint)


def common_seed(seed: int | None) -> int:
    """Returns the seed, or where it is None one that the first process draws for all, and that --seed takes."""
    return gather(secrets.randbits(31))[0] if seed is None else seed


def read_seed(checkpoint: pathlib.Path, asked_for: int | None = None) -> int | None:
    """Reads a checkpoint's seed, 0 or more; None, with a warning, where it has none that can be read.

    Args:
        checkpoint: a folder iter_N.
        asked_for: the seed of the command, which is warned about if it is another one.
    """
    try:
        seed = json.loads((checkpoint / RUN).read_text())["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        seed = None
    if not isinstance(seed, int) or seed < 0:
        logger.warning(f"{checkpoint} has no readable {RUN}: the training goes on with other random numbers")
        return None
    if asked_for not in (None, seed):
        logger.warning(f"--seed {asked_for}: goes on with the seed of {checkpoint}, {seed}")
    return seed


def write_seed(checkpoint: pathlib.Path, seed: int) -> None:
    """Writes what `read_seed` reads. OSError if that fails."""
    write_json(checkpoint / RUN, {"seed": seed})


@contextlib.contextmanager
def exact_continuation(
    run: Run, train_dataset: paddle.io.Dataset, stop: StopRequest, save_and_exit: Callable[[int, int], None]
) -> Iterator[None]:
    """Makes PaddleSeg's trainer go on inside exactly where `run` was, and ask for a stop between iterations.

    Args:
        run: as from `start_run`; gets its ema_model.
        train_dataset: the object that the trainer reads.
        stop: listens for signals.
        save_and_exit: called with the number of whole iterations and the signal when a stop was asked for, in all
            processes after the same iteration.
    """
    trainer: Any = importlib.import_module("paddleseg.core.train")
    reading: Any = paddle.io
    loader_class, init_ema_params = reading.DataLoader, trainer.init_ema_params

    def make_loader(dataset, *args, batch_sampler=None, **kwargs):
        kwargs["worker_init_fn"] = lambda worker: obey_the_parent_alone()  # the trainer's seeds the worker
        if dataset is not train_dataset:
            return loader_class(dataset, *args, batch_sampler=batch_sampler, **kwargs)
        order = _Order(batch_sampler, len(dataset), run.start)
        loader = loader_class(_Samples(dataset, run), *args, batch_sampler=order, **kwargs)
        return _Iterations(loader, run, stop, save_and_exit)

    def restore_ema(ema_model, model):
        run.ema_model = ema_model
        init_ema_params(ema_model, model)
        if run.checkpoint is not None and (run.checkpoint / EMA_WEIGHTS).is_file():
            ema_model.set_state_dict(read_state(run.checkpoint / EMA_WEIGHTS))

    reading.DataLoader, trainer.init_ema_params = make_loader, restore_ema
    try:
        yield
    finally:
        reading.DataLoader, trainer.init_ema_params = loader_class, init_ema_params


class _Order(paddle.io.BatchSampler):
    """The batches of a sampler from an iteration on, with numbers that say the epoch too: epoch * length + index."""

    def __init__(self, sampler, length, start):
        self.sampler, self.length = sampler, length
        self.batch_size = sampler.batch_size
        self.epoch, self.skipped = divmod(start, len(sampler))

    def __iter__(self):
        first = self.epoch * self.length
        self.sampler.set_epoch(self.epoch)  # which its shuffling depends on
        batches = itertools.islice(iter(self.sampler), self.skipped, None)
        self.epoch, self.skipped = self.epoch + 1, 0
        for batch in batches:
            yield [first + index for index in batch]

    def __len__(self):
        return len(self.sampler)


class _Samples(paddle.io.Dataset):
    """A dataset whose sample number epoch * length + index is random by that number alone."""

    def __init__(self, dataset, run):
        self.dataset, self.seed, self.rank = dataset, run.seed, run.rank

    def __getitem__(self, number):
        seed_sample(self.seed, self.rank, number)
        return self.dataset[number % len(self.dataset)]

    def __len__(self):
        return len(self.dataset)


class _Iterations:
    """What the trainer reads its batches from, epoch by epoch."""

    def __init__(self, loader, run, stop, save_and_exit):
        self.loader, self.run, self.stop, self.save_and_exit = loader, run, stop, save_and_exit
        self.done = run.start

    def __iter__(self):
        for batch in self.loader:
            signum = largest(self.stop.signum or 0)
            if signum:
                self.save_and_exit(self.done, signum)
            seed_computation(self.run.seed, self.run.rank, self.done)
            yield batch
            self.done += 1  # the trainer asks for the next one after it saved

    def __len__(self):
        return len(self.loader)
