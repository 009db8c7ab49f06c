"""Networks of instances trained, measured and used by two processes under PaddlePaddle's launcher."""

import json

import numpy as np
import paddle
from command_line import REPOSITORY, losses, run, start
from tiny_instances import write_instance_config

# Runs __main__.py by its path, as the launcher does, and keeps what each process ended with.
WORKER = """
import os, runpy, sys
import paddle
from paddle_pointrend.paddleseg import instance_training

config, folder, images, main_file = sys.argv[1:]
kept, iterations = {}, instance_training._iterations

def spy(network, *args):
    yield from iterations(network, *args)
    kept.update({p.name: p.numpy() for p in network.parameters() if p.trainable})

instance_training._iterations = spy

def command(*arguments):
    sys.argv = [main_file, *arguments]
    try:
        runpy.run_path(main_file, run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, stop.code

command("train", "--config", config, "--iters", "2", "--batch_size", "2", "--log_iters", "1", "--seed", "3",
        "--save_dir", folder + "/output", "--do_eval")
paddle.save(kept, folder + "/rank" + os.environ["PADDLE_TRAINER_ID"])
weights = folder + "/output/iter_2"
command("val", "--config", config, "--model_path", weights, "--json", folder + "/two.json")
command("predict", "--config", config, "--model_path", weights, "--image_path", images, "--save_dir", folder + "/two")
"""


def test_two_processes_train_one_network(tmp_path):
    config = write_instance_config(tmp_path)
    (tmp_path / "worker.py").write_text(WORKER)
    main_file, images = REPOSITORY / "paddle_pointrend" / "__main__.py", tmp_path / "data/images"
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", 2, "--backend", "gloo"]
    worker = [tmp_path / "worker.py", config, tmp_path, images, main_file]
    done = start([*launcher, "--log_dir", tmp_path / "log", *worker], OMP_NUM_THREADS="1")
    logs = [(tmp_path / f"log/workerlog.{rank}").read_text() for rank in (0, 1)]
    assert done.returncode == 0, done.stdout[-3000:] + logs[0][-3000:]
    assert [len(losses(log)) for log in logs] == [2, 0]
    first, second = (paddle.load(str(tmp_path / f"rank{rank}"), return_numpy=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    arguments = ["--config", config, "--model_path", tmp_path / "output/iter_2"]
    assert run("val", *arguments, "--json", tmp_path / "one.json") == 0
    one, two = (json.loads((tmp_path / name).read_text())["predictions"] for name in ("one.json", "two.json"))
    assert one == two
    assert run("predict", *arguments, "--image_path", images, "--save_dir", tmp_path / "one") == 0
    one, two = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert len({result["image_id"] for result in one}) == 3
