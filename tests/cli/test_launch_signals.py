"""A training in two processes that is asked to stop: both stop after the same iteration, and it can be gone on with."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from command_line import REPOSITORY
from kill_sweep import read_checkpoint
from launching import LAUNCHER, MAIN_FILE, launch_two
from tiny_instances import write_instance_config

OPTIONS = ["--batch_size", 1, "--log_iters", 1, "--save_interval", 2, "--seed", 5, "--device", "cpu"]

# Trains whole, then until the second process alone gets a signal in the third iteration, then from there on.
WORKER = """
from paddle_pointrend.paddleseg import instance_training, resuming
from paddle_pointrend.paddleseg.distributed import gather

arguments = sys.argv[3:]

def train(name, *more):
    return command("train", *arguments, "--iters", "5", "--save_dir", f"{folder}/{name}", *more)

def signalling(seed_computation, iteration):
    def seed_and_signal(seed, rank, number):
        if number == iteration and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        seed_computation(seed, rank, number)
    return seed_and_signal

seeds = gather(resuming.common_seed(None))
assert len(seeds) == 2 and len(set(seeds)) == 1
assert not train("whole")
originals = resuming.seed_computation, instance_training.seed_computation
resuming.seed_computation = signalling(originals[0], 2)  # is told of the iterations that are done
instance_training.seed_computation = signalling(originals[1], 3)
assert train("stopped") == 128 + signal.SIGTERM
resuming.seed_computation, instance_training.seed_computation = originals
assert not train("stopped", "--resume_model", "auto")
"""


@pytest.fixture(params=["labels", pytest.param("instances", marks=pytest.mark.slow)])
def config(request, tmp_path):
    if request.param == "labels":
        return request.getfixturevalue("pointrend_config")
    return write_instance_config(tmp_path)


def test_a_signal_to_one_of_two_stops_both_and_the_resumed_training_is_the_uninterrupted_one(config, tmp_path):
    logs = launch_two(tmp_path, WORKER, "--config", config, *OPTIONS)
    assert "Stopped by a signal after iteration 3" in logs[0]
    iterations = {path.name for path in (tmp_path / "stopped").iterdir()}
    assert iterations == {"iter_2", "iter_3", "iter_4", "iter_5"}
    stopped, whole = (read_checkpoint(tmp_path / name / "iter_5") for name in ("stopped", "whole"))
    assert stopped == whole


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves(config, tmp_path):
    """The launcher sends SIGTERM thrice, to the processes that read data too."""
    train = ["train", "--config", config, *OPTIONS, "--iters", 100000, "--save_interval", 100000, "--num_workers", 1]
    command = [sys.executable, *LAUNCHER, tmp_path / "log", MAIN_FILE, *train, "--save_dir", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen([str(part) for part in command], env=environment, stdout=subprocess.DEVNULL) as launcher:
        log = tmp_path / "log/workerlog.0"
        deadline = time.time() + 120
        while time.time() < deadline and not (log.exists() and "iter: 3/" in log.read_text()):
            time.sleep(0.2)
        launcher.send_signal(signal.SIGTERM)
    logs = [(tmp_path / f"log/workerlog.{rank}").read_text() for rank in (0, 1)]
    assert not any("Traceback" in log for log in logs), logs
    (done,) = re.findall(r"Stopped by a signal after iteration (\d+)", logs[0])
    assert sorted(read_checkpoint(tmp_path / f"out/iter_{done}")) == ["model.pdopt", "model.pdparams"]
