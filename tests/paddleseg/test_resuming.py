"""A killed and resumed training equals one that was not, bit by bit; signals save; a folder has one training."""

import errno
import os
import re
import signal
import subprocess
import sys

import paddle
import pytest
from command_line import error_line, losses, run, start
from kill_sweep import read_checkpoint

from paddle_pointrend.paddleseg import resuming
from paddle_pointrend.run_state import LOCK, derived_seed, locked_folder

# Trains in a process of its own, and sends it a signal when iteration AT + 1 has its batch; all but SIGKILL go to the
# processes that read data too, from elsewhere, as those of schedulers, launchers and terminals.
_SIGNALLED = """
import os, signal, subprocess, sys
from paddle_pointrend.cli import main
from paddle_pointrend.paddleseg import resuming
os.setsid()
seed_computation = resuming.seed_computation
def seed_and_signal(seed, rank, done):
    if done == int(sys.argv[1]):
        if int(sys.argv[2]) == signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)
        subprocess.run(["kill", "-" + sys.argv[2], "--", f"-{os.getpid()}"], start_new_session=True, check=True)
    seed_computation(seed, rank, done)
resuming.seed_computation = seed_and_signal
sys.exit(main(sys.argv[3:]))
"""


def arguments(config, save_dir, *more):
    options = ["--seed", 5, "--save_interval", 2, "--log_iters", 1, "--iters", 6, "--device", "cpu"]
    return ["train", "--config", config, "--save_dir", save_dir, *options, *more]


def train_and_signal(done, signum, command):
    return start(["-c", _SIGNALLED, done, int(signum), *command])


@pytest.mark.parametrize(("num_workers", "more"), [(0, ["--use_ema"]), (2, [])])
def test_a_killed_training_goes_on_as_if_it_had_not_been(pointrend_config, tmp_path, num_workers, more):
    more = [*more, "--num_workers", num_workers]
    # Each in a process of its own: what else this one has loaded, torch say, may add numbers in another order.
    uninterrupted = start(["-m", "paddle_pointrend", *arguments(pointrend_config, tmp_path / "whole", *more)])
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    command = arguments(pointrend_config, tmp_path / "killed", *more)
    assert train_and_signal(3, signal.SIGKILL, command).returncode == -signal.SIGKILL
    draft = tmp_path / "killed/iter_2/model.pdopt.123.part"  # of a training that was killed while it wrote
    draft.touch()
    resumed = start(["-m", "paddle_pointrend", *command, "--resume_model", "auto"])
    assert resumed.returncode == 0, resumed.stderr
    assert not draft.exists()
    assert losses(resumed.stdout) == losses(uninterrupted.stdout)[2:]
    whole, killed = (read_checkpoint(tmp_path / name / "iter_6") for name in ("whole", "killed"))
    assert list(whole) == [*(["ema_model.pdparams"] if "--use_ema" in more else []), "model.pdopt", "model.pdparams"]
    assert killed == whole


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_iteration_and_saves(pointrend_config, tmp_path, signum):
    command = arguments(pointrend_config, tmp_path / "out", "--num_workers", 2 if signum == signal.SIGTERM else 0)
    stopped = train_and_signal(2, signum, command)
    assert stopped.returncode == 128 + signum, stopped.stderr
    assert "Stopped by a signal after iteration 3" in stopped.stdout
    assert (tmp_path / "out/iter_3/model.pdopt").is_file()
    assert not (tmp_path / "out" / LOCK).exists()
    assert "Traceback" not in stopped.stderr


def test_a_second_training_into_a_folder_is_refused(pointrend_config, tmp_path, capsys):
    hold = "import sys\nfrom paddle_pointrend.run_state import locked_folder\n"
    hold += "with locked_folder(sys.argv[1]):\n    print('locked', flush=True)\n    sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "locked\n" or holder.stdout.read().endswith("locked\n")
        assert run(*arguments(pointrend_config, tmp_path)) == 2
        assert re.search(rf"process {holder.pid} trains into this folder", error_line(capsys))
    finally:
        holder.kill()
        holder.communicate()
    assert (tmp_path / LOCK).exists()  # stale: its process is dead
    with locked_folder(tmp_path):
        assert (tmp_path / LOCK).read_text() == str(os.getpid())
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("full_at", ["iter_4/run.json", "iter_4/model.pdparams", "iter_4/model.pdopt"])
def test_a_full_disk_is_one_line_and_leaves_the_checkpoints_before(
    pointrend_config, tmp_path, capsys, monkeypatch, full_at
):
    replace = os.replace

    def fill_up(draft, target):
        if str(target).endswith(full_at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(draft, target)

    monkeypatch.setattr(os, "replace", fill_up)
    assert run(*arguments(pointrend_config, tmp_path)) == 2
    assert "iter_4 cannot be written: No space left on device" in error_line(capsys)
    assert not (tmp_path / full_at).exists()
    assert sorted(read_checkpoint(tmp_path / "iter_2")) == ["model.pdopt", "model.pdparams"]
    assert not list(tmp_path.rglob("*.part"))


def test_a_disk_that_is_full_in_truth(pointrend_config, tmp_path):
    """A file that may grow to 1 MB alone, as of `ulimit -f`, is where writing fails as on a full disk."""
    limited = "import resource, signal, sys\nfrom paddle_pointrend.cli import main\n"
    limited += (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
    )
    done = start(["-c", limited + "sys.exit(main(sys.argv[1:]))", *arguments(pointrend_config, tmp_path / "output")])
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [file for file in (tmp_path / "output").rglob("*") if file.suffix in (".part", ".pdparams", ".pdopt")]


def test_seeds_differ_by_every_counter():
    seeds = {derived_seed(1), derived_seed(2), *(derived_seed(1, rank, i) for rank in (0, 1) for i in range(50))}
    assert len(seeds) == 102
    assert derived_seed(1, 2, 3) == derived_seed(1, 2, 3)


def test_the_order_goes_on_within_an_epoch():
    sampler = paddle.io.DistributedBatchSampler(list(range(7)), 2, num_replicas=1, rank=0, shuffle=True, drop_last=True)
    order = resuming._Order(sampler, 7, 0)
    batches = [batch for _ in range(3) for batch in order]
    assert sorted(number // 7 for batch in batches for number in batch) == [0] * 6 + [1] * 6 + [2] * 6
    for start_at in range(9):
        later = resuming._Order(sampler, 7, start_at)
        assert [batch for _ in range(start_at // 3, 3) for batch in later] == batches[start_at:]


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"seed": -1}', '{"seed": "x"}', '{"seed": 1e999}'])
def test_a_checkpoint_without_a_readable_seed_goes_on_with_the_one_that_is_asked_for(tmp_path, content):
    if content is not None:
        (tmp_path / resuming.RUN).write_text(content)
    assert resuming.read_seed(tmp_path) is None
    assert resuming.start_run(7, 0, tmp_path).seed == 7
    resuming.write_seed(tmp_path, 11)
    assert resuming.read_seed(tmp_path) == resuming.start_run(7, 0, tmp_path).seed == 11
