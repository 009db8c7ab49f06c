"""paddle-pointrend attach: the config that puts PointRend on a trained model, which stays as it is."""

import argparse
import os
import pathlib
import shlex

from paddleseg.utils import logger

from paddle_pointrend.cli.common import check_output, output_error, positive_float, positive_int
from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg.attach import ITERS, LEARNING_RATE, attach_pointrend, write_config
from paddle_pointrend.paddleseg.attach_instances import attach_mask_head
from paddle_pointrend.paddleseg.configs import files_of, is_instance_config, load_config
from paddle_pointrend.paddleseg.models import WEIGHTS

_HEAD = """\
PointRend on the trained {host} of {config}. It stays as it is, only the point head learns.
  {train}
  {val}
{reads}
Optimizer and schedule are the point head's, whatever the model was trained with. The head is small and begins with the
model's own prediction, on features that do not change: so the training is short.
Expected time: not measured. Expected score: not measured.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add("output", metavar="OUT.yml", help="where to write the new config")
    add("--config", required=True, help="YAML config of the trained model")
    add("--model_path", required=True, help="its weights, a file or the folder that holds it")
    add("--iters", type=positive_int, help=f"iterations, default: {ITERS}, or the config's where those are fewer")
    add("--learning_rate", type=positive_float, default=LEARNING_RATE, help=f"default: {LEARNING_RATE}")
    add("--coarse", metavar="PATH", help="the sublayer whose output is the coarse logits, instead of the one found")
    add(
        "--fine",
        metavar="PATH",
        action="append",  # a list of them would take OUT.yml as one
        help="the sublayer whose output is the fine features, instead of the one found; once for each, fine to coarse",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the config, after its model was built and run; returns the exit code."""
    config = load_config(args.config)  # a mistake in it is named before one in OUT
    if not args.output.endswith((".yml", ".yaml")):
        raise UsageError(f"OUT must end in .yml, which PaddleSeg looks for; got {args.output}")
    if os.path.realpath(args.output) in map(os.path.realpath, files_of(args.config)):
        raise UsageError(f"{args.output} is what --config {args.config} is read from; choose another OUT")
    check_output(args.output)
    attached = _attach(args, config)
    train, val = _next_commands(args.output, attached.changes["iters"])
    train_lines, val_lines = (" \\\n    ".join(command) for command in (train, val))
    head = _HEAD.format(host=attached.host, config=args.config, reads=attached.reads, train=train_lines, val=val_lines)
    try:
        write_config(args.output, args.config, attached.changes, head)
    except OSError as error:
        raise output_error(args.output, error) from error
    logger.info(f"Wrote {args.output}, PointRend on {attached.host}.\n{attached.reads}")
    logger.info(f"To train the point head, then to compare coarse and refined:\n{' '.join(train)}\n{' '.join(val)}")
    return 0


def _attach(args, config):
    options = {name: getattr(args, name) for name in ("iters", "learning_rate")}
    if not is_instance_config(config):
        return attach_pointrend(args.config, args.model_path, **options, coarse=args.coarse, fine=args.fine)
    if args.coarse or args.fine:
        raise UsageError(f"--coarse and --fine are for networks of labels, --config {args.config} finds instances")
    return attach_mask_head(args.config, args.model_path, **options)


def _next_commands(output, iters):
    """The commands that come next, train and val, in two parts each."""
    save_dir = f"output/{pathlib.Path(output).stem}"
    ends = (["--save_dir", save_dir], ["--model_path", f"{save_dir}/iter_{iters}/{WEIGHTS}"])
    starts = (["paddle-pointrend", command, "--config", output] for command in ("train", "val"))
    return [[shlex.join(start), shlex.join(end)] for start, end in zip(starts, ends)]
