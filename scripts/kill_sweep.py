"""Kills trainings at random moments and resumes them: nothing may be lost, the end must be that of a whole run.

    python scripts/kill_sweep.py --kills 100 --seed 0 --save_dir output/kill_sweep [--kind instances]

Trains a small network on small scenes once without a kill. Then again and again: each training gets kill -9 at a random
moment, every second one of them while a checkpoint is being written, and goes on with `--resume_model auto`, until it
ends; then the next one begins. After each kill every checkpoint that has its optimizer's state has to load, and the
newest one may not be older than before; at each end parameters, moving average, optimizer and learning rate have to be
those of the whole run, bit by bit. Prints the counts and writes them to SAVE_DIR/counts.json; exits with 1 where
something was lost. (Trainings are forks of this process, which spares them the imports: POSIX only.)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sys
import time

import numpy as np
import paddle
from measuring.arguments import positive_int
from tqdm import tqdm

from paddle_pointrend import scenes
from paddle_pointrend.cli import main as command
from paddle_pointrend.files import write_json
from paddle_pointrend.models.weights import read_state
from paddle_pointrend.paddleseg.checkpoints import OPTIMIZER, iteration_of
from paddle_pointrend.paddleseg.config_files import configs_folder

ITERATIONS, INTERVAL = 12, 2
WHOLE = (".pdparams", ".pdopt")  # and .part while it is written
# What makes the demo's configs small.
CONFIGS = {
    "semantic": """\
_base_: {base}/pointrend_semantic_fpn_efficientnet_lite0.yml
batch_size: 2
train_dataset: {{dataset_root: {data}, transforms: [{{type: RandomHorizontalFlip}}, {{type: Normalize}}]}}
val_dataset: {{dataset_root: {data}}}
model:
  segmentor:
    backbone: {{type: ResNet18_vd, output_stride: 32, pretrained: null}}
    fpn_channels: 16
    head_channels: 16
  num_train_points: 64
""",
    "instances": """\
_base_: {base}/pointrend_rcnn_efficientnet_lite0.yml
train_dataset: {{dataset_root: {data}, short_sides: [64]}}
val_dataset: {{dataset_root: {data}}}
model:
  backbone: {{type: ResNet18_vd, output_stride: 32, pretrained: null}}
  fpn_channels: 16
  num_samples: 16
  mask_head: {{in_channels: 16, coarse_head: {{channels: 16, fc_channels: 32}}, point_head: {{hidden_channels: 16}}}}
""",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=positive_int, default=100, help="default: 100")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, default: 0")
    parser.add_argument("--kind", choices=sorted(CONFIGS), default="semantic", help="of network, default: semantic")
    parser.add_argument("--save_dir", default="output/kill_sweep", help="default: output/kill_sweep")
    args = parser.parse_args()
    counts = sweep(pathlib.Path(args.save_dir), args.kind, args.kills, args.seed)
    width = max(map(len, counts))
    print("\n".join(f"{name:{width}}  {count}" for name, count in counts.items()))
    print(f"Wrote {args.save_dir}/counts.json")
    return 1 if counts["losses"] or counts["ends unlike the whole run"] else 0


def sweep(folder: pathlib.Path, kind: str, kills: int, seed: int) -> dict[str, int]:
    """Trains whole, then with so many kills; returns what was counted."""
    folder = folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    scenes.write_dataset(folder / "scenes", 6, 2, height=64, width=96)
    whole, killed = folder / "whole", folder / "killed"
    started = time.monotonic()
    if wait(start(folder, kind, whole)):
        sys.exit(f"The training without a kill failed: see {log_of(whole)}")
    duration = time.monotonic() - started
    expected = read_checkpoint(whole / f"iter_{ITERATIONS}")
    names = ("kills", "in the middle of writing", "resumed", "whole trainings", "losses", "ends unlike the whole run")
    counts = dict.fromkeys(names, 0)
    moments, newest = random.Random(seed), 0
    with tqdm(total=kills, desc="kills") as progress:
        while counts["kills"] < kills:
            counts["resumed"] += newest > 0
            training = start(folder, kind, killed)
            if counts["kills"] % 2:
                wait_for_writing(training, killed, moments)
            else:
                training.join(moments.uniform(0, duration))
            if training.is_alive():
                os.kill(training.pid, signal.SIGKILL)
                training.join()
                counts["kills"] += 1
                counts["in the middle of writing"] += any(killed.rglob("*.part"))
                progress.update()
                before, newest = newest, newest_whole(killed)
                counts["losses"] += newest is None or newest < before
                newest = newest or 0
                continue
            counts["whole trainings"] += 1
            same = training.exitcode == 0 and not any(killed.rglob("*.part"))
            same = same and read_checkpoint(killed / f"iter_{ITERATIONS}") == expected
            counts["ends unlike the whole run"] += not same
            if same:
                shutil.rmtree(killed)
            else:
                shutil.move(killed, folder / f"failed_{counts['whole trainings']}")
            newest = 0
    write_json(folder / "counts.json", {"kind": kind, "seed": seed, **counts})
    return counts


def start(folder: pathlib.Path, kind: str, save_dir: pathlib.Path) -> multiprocessing.Process:
    """Starts a training that goes on from what is in save_dir, in a process of its own."""
    config = folder / "config.yml"
    text = CONFIGS[kind].format(base=configs_folder() / "scenes", data=folder / "scenes")
    config.write_text(text)
    arguments = ["train", "--config", config, "--save_dir", save_dir, "--resume_model", "auto", "--device", "cpu"]
    arguments += ["--iters", ITERATIONS, "--save_interval", INTERVAL, "--log_iters", 1, "--seed", 7]
    training = multiprocessing.get_context("fork").Process(
        target=train, args=([str(argument) for argument in arguments], log_of(save_dir))
    )
    training.start()
    return training


def train(arguments: list[str], log: pathlib.Path) -> None:
    """Runs the command with its output in a file; ends the process."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(command(arguments))


def log_of(save_dir):
    return save_dir.with_suffix(".log")


def wait(training):
    training.join()
    return training.exitcode


def wait_for_writing(training, save_dir, moments):
    """Waits until a checkpoint's file appears in part, the first to fifth from now, and then some milliseconds."""
    for _ in range(moments.randint(1, 5)):
        for expected in (False, True):
            while training.is_alive() and any(save_dir.glob("iter_*/*.part")) != expected:
                time.sleep(0.0002)
    time.sleep(moments.uniform(0, 0.003))


def newest_whole(save_dir):
    """The iterations of the newest checkpoint; None where one that has an optimizer's state cannot be read."""
    folders = [file.parent for file in save_dir.glob(f"iter_*/{OPTIMIZER}")]
    for folder in folders:
        try:
            read_checkpoint(folder)
        except Exception as error:  # whatever a broken file raises is what this looks for
            print(f"{folder} cannot be read: {error}", file=sys.stderr)
            return None
    return max((iteration_of(folder) for folder in folders), default=0)


def read_checkpoint(folder):
    """{file: {name: bytes or value}} of a checkpoint."""
    return {file.name: flat(read_state(file)) for file in sorted(folder.iterdir()) if file.suffix in WHOLE}


def flat(state):
    """A state with nested dicts as one dict whose values can be compared."""
    values = {}
    for key, value in state.items():
        if isinstance(value, dict):
            values.update({f"{key}/{name}": inner for name, inner in flat(value).items()})
        else:
            values[key] = np.asarray(value).tobytes() if isinstance(value, paddle.Tensor | np.ndarray) else repr(value)
    return values


if __name__ == "__main__":
    sys.exit(main())
