"""The command in processes of its own: as a module, and several under PaddlePaddle's launcher."""

import json
import re

import numpy as np
import paddle
from command_line import losses, run, start
from launching import launch_two


def test_module_sets_threads_and_exits_with_the_code(trained):
    command = ["-m", "paddle_pointrend", "val", "--device", "cpu", "--config", trained.config]
    done = start([*command, "--model_path", "none.pdparams"], OMP_NUM_THREADS=None, MKL_DEBUG_CPU_TYPE=None)
    assert done.returncode == 2
    assert "set before Paddle was imported: OMP_NUM_THREADS=" in done.stdout
    assert done.stderr.strip().splitlines()[-1].endswith("none.pdparams: there is no such file")


# Keeps what each process ended with.
WORKER = """
import paddle
from paddle_pointrend.models import pointrend
from paddleseg import core

config, = sys.argv[3:]
kept = {"points": [], "start": {}, "end": {}}
sample, original = pointrend.sample_training_points, core.train

def spy_sample(*args, **kwargs):
    points = sample(*args, **kwargs)
    kept["points"].append(points.numpy())
    return points

def spy_train(model, *args, **kwargs):
    kept["start"] = {p.name: p.numpy() for p in model.parameters() if p.trainable}
    original(model, *args, **kwargs)
    kept["end"] = {p.name: p.numpy() for p in model.parameters() if p.trainable}

pointrend.sample_training_points, core.train = spy_sample, spy_train

assert not command("train", "--config", config, "--iters", "3", "--batch_size", "1", "--log_iters", "1", "--seed", "1",
        "--save_dir", folder + "/output", "--do_eval")
paddle.save(kept, folder + "/rank" + os.environ["PADDLE_TRAINER_ID"])
assert not command(
    "val", "--config", config, "--model_path", folder + "/output/iter_3", "--json", folder + "/two.json"
)
"""


def test_two_processes_train_one_model(pointrend_config, tmp_path):
    logs = launch_two(tmp_path, WORKER, pointrend_config)
    assert [len(losses(log)) for log in logs] == [3, 0]
    first, second = (paddle.load(str(tmp_path / f"rank{rank}"), return_numpy=True) for rank in (0, 1))
    saved = paddle.load(str(tmp_path / "output/iter_3/model.pdparams"), return_numpy=True)
    assert saved.keys() >= {"point_head.predictor.weight"}
    for time in ("start", "end"):
        assert first[time].keys() == second[time].keys()
        assert all(np.array_equal(first[time][name], second[time][name]) for name in first[time])
    assert any(not np.array_equal(first["start"][name], first["end"][name]) for name in first["start"])
    # The last quarter is uniform: these depend on the process's seed alone, not on its images.
    assert not np.array_equal(first["points"][0][:, -8:], second["points"][0][:, -8:])
    # Each process counted its share of the three images; together they are what one process counts.
    assert re.search(r"evaluating: 100%.* 2/2 ", logs[0])
    arguments = ["--model_path", tmp_path / "output/iter_3", "--json", tmp_path / "one.json"]
    assert run("val", "--config", pointrend_config, *arguments) == 0
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one["predictions"] == two["predictions"]
