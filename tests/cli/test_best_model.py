"""The best model and its score outlive a kill -9: the resumed training replaces them by a better one alone."""

import json
import signal

import pytest
from command_line import start
from kill_sweep import read_checkpoint
from tiny_instances import write_instance_config

# Trains with given scores in the place of evaluations, and may kill itself in an iteration.
_SCORED = """
import importlib, json, os, signal, sys
from paddle_pointrend.cli import main
from paddle_pointrend.paddleseg import instance_training, resuming

scores, killed_in = json.loads(sys.argv[1]), int(sys.argv[2])
importlib.import_module("paddleseg.core.train").evaluate = lambda *_, **__: (scores.pop(0), 0.5, None, None, None)
instance_training.evaluate_instances = lambda *args: {"refined": {"mask": {"ap": scores.pop(0)}}}

def or_kill(seed_computation, before):
    def seed(seed, rank, number):
        if number + before == killed_in:
            os.kill(os.getpid(), signal.SIGKILL)
        seed_computation(seed, rank, number)
    return seed

resuming.seed_computation = or_kill(resuming.seed_computation, 1)  # is told of the iterations that are done
instance_training.seed_computation = or_kill(instance_training.seed_computation, 0)
sys.exit(main(sys.argv[3:]) or len(scores))
"""


@pytest.mark.parametrize("kind", ["labels", "instances"])
def test_a_kill_leaves_the_best_model_and_its_score(kind, request, tmp_path):
    labels = kind == "labels"
    config = request.getfixturevalue("pointrend_config") if labels else write_instance_config(tmp_path)
    command = ["train", "--config", config, "--save_dir", tmp_path / "out", "--do_eval", "--save_interval", 1]
    command += ["--iters", 4, "--batch_size", 1, "--device", "cpu"]
    best = tmp_path / "out/best_model"
    killed = start(["-c", _SCORED, "[0.8, 0.3]", 3, *command])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    score = json.loads((best / "score.json").read_text())
    assert score["miou" if labels else "mask_ap"] == 0.8
    resumed = start(["-c", _SCORED, "[0.4, 0.5]", 0, *command, "--resume_model", "auto"])
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((best / "score.json").read_text()) == score
    (weights,) = read_checkpoint(best).values()
    assert weights == read_checkpoint(tmp_path / "out/iter_1")["model.pdparams"]
    assert "best_model stays: its m" in resumed.stdout
