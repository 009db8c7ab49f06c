"""paddle-pointrend train: PaddleSeg's trainer, with its flags."""

import argparse
import os
import pathlib
import shlex

from paddleseg.utils import logger

from paddle_pointrend.cli import instances
from paddle_pointrend.cli.common import (
    add_check_data_argument,
    add_common_arguments,
    make_save_dir,
    non_negative_int,
    positive_float,
    positive_int,
    random_seed,
    set_device,
)
from paddle_pointrend.paddleseg.configs import is_instance_config, load_config
from paddle_pointrend.paddleseg.models import WEIGHTS
from paddle_pointrend.paddleseg.training import parse_profiler_options, train_model

# Arguments that `train_model` takes under the same name.
TRAINING_OPTIONS = (
    "do_eval",
    "resume_model",
    "seed",
    "num_workers",
    "repeats",
    "profiler_options",
    "to_static_training",
    "check_data",
    "save_interval",
    "log_iters",
    "use_vdl",
    "use_ema",
    "keep_checkpoint_max",
    "precision",
    "amp_level",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments, named as in PaddleSeg's tools/train.py."""
    add_common_arguments(parser)
    add = parser.add_argument
    add("--save_dir", default="output", help="folder for checkpoints, default: output")
    add("--num_workers", type=non_negative_int, default=0, help="processes that read data, default: 0, this one")
    add("--do_eval", action="store_true", help="evaluate at every --save_interval and keep best_model")
    add("--use_vdl", action="store_true", help="write curves for VisualDL into --save_dir")
    add("--use_ema", action="store_true", help="also keep an exponential moving average of the weights")
    add(
        "--resume_model",
        metavar="auto|FOLDER",
        help="go on from the newest whole checkpoint in --save_dir, or FOLDER",
    )
    add("--iters", type=positive_int, help="iterations, instead of the config's")
    add(
        "--batch_size",
        type=positive_int,
        help="images of each process and iteration, instead of the config's",
    )
    add("--learning_rate", type=positive_float, help="instead of the config's")
    add(
        "--save_interval",
        type=positive_int,
        default=1000,
        help="iterations between checkpoints, default: 1000",
    )
    add("--log_iters", type=positive_int, default=10, help="iterations between log lines, default: 10")
    add("--keep_checkpoint_max", type=int, default=5, help="checkpoints to keep, default: 5")
    add("--seed", type=random_seed, help="seed of everything random: a run repeats exactly on the same machine")
    add("--precision", choices=["fp32", "fp16"], default="fp32", help="fp16 is automatic mixed precision")
    add(
        "--amp_level",
        choices=["O1", "O2"],
        default="O1",
        help="of mixed precision; O2 keeps weights in fp16 too",
    )
    add(
        "--profiler_options",
        metavar="KEY=VALUE; ...",
        help="profile some iterations and stop, e.g. 'batch_range=[10,20]; profile_path=profile.json'",
    )
    add("--repeats", type=positive_int, default=1, help="times each epoch goes through the images, default: 1")
    add_check_data_argument(parser)
    add("--to_static_training", action="store_true", help="train the model as a static graph")


def run(args: argparse.Namespace) -> int:
    """Trains; returns the exit code."""
    parse_profiler_options(args.profiler_options)  # a mistake in them is found before anything is made
    set_device(args.device)
    config = load_config(
        args.config,
        opts=args.opts,
        learning_rate=args.learning_rate,
        iters=args.iters,
        batch_size=args.batch_size,
    )
    if is_instance_config(config):
        say_how_to_evaluate(args.config, instances.train(args, config), args.opts)
        return 0
    make_save_dir(args.save_dir)
    options = {name: getattr(args, name) for name in TRAINING_OPTIONS}
    last = train_model(config, args.save_dir, **options)
    best = pathlib.Path(args.save_dir) / "best_model"
    say_how_to_evaluate(args.config, best if args.do_eval and best.is_dir() else last, args.opts)
    return 0


def say_how_to_evaluate(config: str | os.PathLike, folder: str | os.PathLike, opts: list[str] | None = None) -> None:
    """Logs where the weights are, and the command that evaluates them."""
    weights = pathlib.Path(folder) / WEIGHTS
    command = ["paddle-pointrend", "val", "--config", str(config), "--model_path", str(weights)]
    if opts:
        command += ["--opts", *opts]
    logger.info(f"The weights are in {weights}; to evaluate them:\n{shlex.join(command)}")
