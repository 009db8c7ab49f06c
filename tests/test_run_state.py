"""Seeds by iteration, the lock on a training's folder, signals that are noted."""

import importlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from paddle_pointrend.errors import UsageError
from paddle_pointrend.run_state import LOCK, StopRequest, derived_seed, locked_folder

_HOLD = """
import fcntl, os, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_locked_while_its_process_lives(tmp_path):
    command = [sys.executable, "-c", _HOLD, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match=f"process {holder.pid} trains into this folder"), locked_folder(tmp_path):
            pass
        holder.kill()
    assert (tmp_path / LOCK).exists()  # stale
    with locked_folder(tmp_path):
        assert (tmp_path / LOCK).read_text() == str(os.getpid())
    assert not (tmp_path / LOCK).exists()


def test_windows_can_import_all_but_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delitem(sys.modules, "paddle_pointrend.run_state")
    run_state = importlib.import_module("paddle_pointrend.run_state")
    with pytest.raises(UsageError, match="fcntl, which Windows lacks"), run_state.locked_folder(tmp_path):
        pass


@pytest.fixture
def default_interrupts():
    """Ctrl-C as in a terminal: a shell lets what it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_is_noted(signum, default_interrupts):
    before = signal.getsignal(signum)
    with StopRequest().listening() as stop:
        assert stop.signum is None
        os.kill(os.getpid(), signum)
        assert stop.signum == signum
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler  # a second Ctrl-C works as ever
        os.kill(os.getpid(), signal.SIGTERM)  # a second SIGTERM changes nothing
    assert signal.getsignal(signum) == before


def test_another_thread_listens_to_nothing():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_listen).result()


def _listen():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest().listening() as stop:
        assert stop.signum is None
        assert signal.getsignal(signal.SIGTERM) == before


# Readers are forks, which begin with one thread: others, which NumPy makes, could take the signal and end the process.
_FORKS_A_READER = """
import os, signal, sys, time
from paddle_pointrend.run_state import obey_the_parent_alone
reader = os.fork()
if reader == 0:
    obey_the_parent_alone()
    os.system(f"kill -TERM {os.getpid()}")
    print("still there", flush=True)
    time.sleep(60)
sys.stdin.readline()
os.kill(reader, signal.SIGTERM)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere readers are as Paddle makes them")
def test_a_process_that_reads_data_ends_at_its_parents_signal_alone():
    command = [sys.executable, "-c", _FORKS_A_READER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "still there\n"
        parent.stdin.write("end it\n")
        parent.stdin.flush()
        assert parent.wait(20) == 0


def test_seeds_differ_by_every_counter():
    seeds = {derived_seed(1), derived_seed(2), *(derived_seed(1, rank, i) for rank in (0, 1) for i in range(50))}
    assert len(seeds) == 102
    assert derived_seed(1, 2, 3) == derived_seed(1, 2, 3)
