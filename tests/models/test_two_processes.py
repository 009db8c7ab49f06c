"""A PaddleSeg model under PointRendSeg, whole and frozen, trained by two processes."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import paddle
import yaml
from hosts import CONFIG, HOSTS

ROOT = pathlib.Path(__file__).parents[2]

# Both trainings in one launch, because a launch takes as long as they do.
WORKER = """
import os, sys
import paddle
from paddleseg import core
from paddle_pointrend.cli import main

original, kept = core.train, {}

def spy(model, *args, **kwargs):
    name = "frozen" if model.freeze_segmentor else "whole"
    kept[name] = {"start": {k: v.numpy() for k, v in model.state_dict().items()}}
    original(model, *args, **kwargs)
    kept[name]["end"] = {k: v.numpy() for k, v in model.state_dict().items()}

core.train = spy
folder = sys.argv[1]
for name in ("whole", "frozen"):
    main(["train", "--config", f"{folder}/{name}.yml", "--iters", "2", "--batch_size", "1", "--log_iters", "1",
          "--save_dir", f"{folder}/{name}"])
paddle.save(kept, f"{folder}/rank" + os.environ["PADDLE_TRAINER_ID"])
"""


def test_two_processes(tmp_path, tiny_dataset):
    host = HOSTS["PSPNet"]
    data = yaml.safe_load(CONFIG.format(num_classes=4))
    data["train_dataset"].update(dataset_root=str(tiny_dataset), train_path=str(tiny_dataset / "train.txt"))
    points, pixels = {"type": "PointSampledCrossEntropyLoss"}, {"type": "CrossEntropyLoss"}
    for name, losses in (("whole", [pixels, pixels, points]), ("frozen", [points])):
        data["model"] = {"type": "PointRendSeg", "segmentor": {**host.config, "num_classes": 4}}
        data["model"]["freeze_segmentor"] = name == "frozen"
        data["loss"] = {"types": losses, "coef": [1] * len(losses)}
        (tmp_path / f"{name}.yml").write_text(yaml.dump(data))
    (tmp_path / "worker.py").write_text(WORKER)
    command = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]
    done = subprocess.run(
        [sys.executable, *command, "--log_dir", str(tmp_path / "log"), str(tmp_path / "worker.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    logs = [log.read_text() for log in sorted((tmp_path / "log").glob("workerlog.*"))]
    assert done.returncode == 0, done.stderr[-2000:] + "".join(logs)[-3000:]
    first, second = (paddle.load(str(tmp_path / f"rank{rank}"), return_numpy=True) for rank in (0, 1))
    for name in ("whole", "frozen"):
        learnt = {k for k, v in first[name]["start"].items() if not np.array_equal(v, first[name]["end"][k])}
        assert any(k.startswith("point_head.") for k in learnt)
        assert any(k.startswith("segmentor.") for k in learnt) == (name == "whole")
        for k in first[name]["start"]:
            if not k.endswith(("._mean", "._variance")):  # each process has its own batch statistics
                np.testing.assert_array_equal(first[name]["end"][k], second[name]["end"][k], err_msg=k)
