"""What a training of any kind needs to survive: random numbers by iteration, a lock on its folder, signals to stop.

Nothing here knows a trainer. Files appear whole by `files.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import random
import signal
import sys
import threading
from collections.abc import Iterator

import numpy as np
import paddle

from paddle_pointrend.errors import UsageError

LOCK = ".training.pid"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedBySignalError(SystemExit):
    """A training that saved and stopped because a signal asked for it; the exit code is 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


def derived_seed(seed: int, *counters: int) -> int:
    """Makes a seed, 0 to 2**32 - 1, of a run's seed and of where the run is: rank, iteration, epoch, sample.

    Random numbers that start from such a seed need no saved state: a run that goes on draws what it would have drawn.
    """
    return int(np.random.SeedSequence(seed, spawn_key=counters).generate_state(1)[0])


def seed_computation(seed: int, *counters: int) -> None:
    """Seeds Paddle's generators with `derived_seed`. Python's and NumPy's belong to the samples, maybe of a thread."""
    paddle.seed(derived_seed(seed, *counters))


def seed_sample(seed: int, *counters: int) -> None:
    """Seeds what transforms draw from, Python's and NumPy's generators, with `derived_seed`."""
    value = derived_seed(seed, *counters)
    random.seed(value)
    np.random.seed(value)


def obey_the_parent_alone() -> None:
    """Makes this process, one that reads data, end with the one that started it, and at its SIGTERM alone (on Linux).

    Launchers and schedulers send SIGTERM to readers too, which the training needs until its iteration is done.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait():
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def locked_folder(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps the trainings of other processes out of a folder; the lock ends with this process, however that ends.

    Args:
        folder: exists; a file `.training.pid` lies there meanwhile.

    Raises:
        UsageError: another process trains there, or the file cannot be written; this is Windows.
    """
    path = pathlib.Path(folder) / LOCK
    try:
        descriptor = _lock(path)
    except OSError as error:
        raise UsageError(f"{folder}: cannot lock this folder: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is locked, so that nobody else's is removed
        os.close(descriptor)


def _lock(path):
    """Opens and locks the file. A POSIX lock: processes that read data, forked later, do not hold it on."""
    try:
        import fcntl
    except ImportError as error:
        raise UsageError(
            "training locks its folder with fcntl, which Windows lacks; train on Linux or in WSL"
        ) from error
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            pid = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise UsageError(
                f"{path.parent}: process {pid} trains into this folder, expected one training at a time; wait for it, "
                "stop it, or train into another folder"
            ) from error
        if path.exists() and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            break
        os.close(descriptor)  # the run that held it ended and removed it in between
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


class StopRequest:
    """Notes SIGTERM and a first Ctrl-C, so that a training can finish its iteration; a second Ctrl-C works as ever.

    A second SIGTERM changes nothing: PaddlePaddle's launcher sends three, and SIGKILL after half a minute.

    Attributes:
        signum: the signal that came, None before.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handles the signals inside; in another thread than the main one, which gets none, it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        owner = os.getpid()
        before = {signum: signal.getsignal(signum) for signum in _SIGNALS}

        def note(signum, frame):
            if os.getpid() == owner:
                self.signum = signum
                signal.signal(signal.SIGINT, before[signal.SIGINT])
            elif signum == signal.SIGTERM:  # a forked process that reads data, which the loader ends
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
            # else Ctrl-C of the terminal, which goes to readers too: the iteration needs them

        for signum in _SIGNALS:
            signal.signal(signum, note)
        try:
            yield self
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
