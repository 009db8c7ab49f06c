"""Networks of instances trained, measured and used by two processes under PaddlePaddle's launcher."""

import json

import numpy as np
import paddle
from command_line import losses, run
from launching import launch_two
from tiny_instances import write_instance_config

# Keeps what each process ended with.
WORKER = """
import paddle
from paddle_pointrend.paddleseg import instance_training

config, images = sys.argv[3:]
kept, iterations = {}, instance_training._iterations

def spy(network, *args):
    yield from iterations(network, *args)
    kept.update({p.name: p.numpy() for p in network.parameters() if p.trainable})

instance_training._iterations = spy

assert not command("train", "--config", config, "--iters", "2", "--batch_size", "2", "--log_iters", "1", "--seed", "3",
        "--save_dir", folder + "/output", "--do_eval")
paddle.save(kept, folder + "/rank" + os.environ["PADDLE_TRAINER_ID"])
weights = folder + "/output/iter_2"
use = ["--config", config, "--model_path", weights]
assert not command("val", *use, "--json", folder + "/two.json")
assert not command("predict", *use, "--image_path", images, "--save_dir", folder + "/two")
"""


def test_two_processes_train_one_network(tmp_path):
    config = write_instance_config(tmp_path)
    images = tmp_path / "data/images"
    logs = launch_two(tmp_path, WORKER, config, images)
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
