"""paddle-pointrend convert: a torch checkpoint as weights of the network that a config describes."""

import argparse
import pathlib
import shlex

from paddleseg.utils import logger

from paddle_pointrend.cli.common import check_output
from paddle_pointrend.convert import BACKBONE_SOURCES, SOURCES, convert_state, left_out, read_tensors
from paddle_pointrend.errors import UsageError
from paddle_pointrend.files import write_whole
from paddle_pointrend.models.paddle_files import encode_state
from paddle_pointrend.paddleseg.configs import build, drop_pretrained, load_config, make_builder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="the checkpoint: .pth, .pkl of detectron2 or .safetensors")
    parser.add_argument("output", metavar="OUT.pdparams", help="where to write the weights; or OUT.safetensors")
    parser.add_argument(
        "--from",
        dest="layout",
        required=True,
        choices=SOURCES,
        help=f"where the checkpoint comes from; {', '.join(BACKBONE_SOURCES)} are ImageNet backbones",
    )
    parser.add_argument("--config", required=True, help="YAML config of the network that will load the weights")
    parser.add_argument("--opts", nargs="+", metavar="KEY=VALUE", help="change the config")


def run(args: argparse.Namespace) -> int:
    """Converts; returns the exit code."""
    output = pathlib.Path(args.output)
    if output.suffix not in (".pdparams", ".safetensors"):
        raise UsageError(f"OUT must end in .pdparams, which PaddleSeg looks for, or .safetensors; got {output}")
    check_output(output)
    config = load_config(args.config, opts=args.opts)
    drop_pretrained(config.dic.get("model"))
    model = build(make_builder(config), args.config, "model")
    backbone_key = None
    if args.layout in BACKBONE_SOURCES:
        backbone_key, model = _find_backbone(model, args.config)
    tensors = read_tensors(args.source)
    try:
        state = convert_state(tensors, args.layout, model)
    except ValueError as error:
        raise UsageError(f"{args.source} with --from {args.layout} and {args.config}: {error}") from error
    write_whole(output, encode_state(state, output.suffix))
    _say_what_next(args, backbone_key, state, left_out(tensors, args.layout))
    return 0


def _find_backbone(model, config):
    """Finds the backbone: its place in the config, and the layer. UsageError if there is none."""
    for place, owner in (("model.segmentor", getattr(model, "segmentor", None)), ("model", model)):
        if hasattr(owner, "backbone"):
            return f"{place}.backbone", owner.backbone
    raise UsageError(f"--config {config}: its {type(model).__name__} has no backbone")


def _say_what_next(args, backbone_key, state, dropped):
    names = ", ".join(dropped[:4]) + (", ..." if len(dropped) > 4 else "")
    left = f"{len(dropped)} ({names})" if dropped else "none"
    logger.info(f"Wrote {len(state)} tensors to {args.output}; left out, of no use here: {left}")
    common = ["--config", args.config]
    opts = ["--opts", *(args.opts or [])]
    if backbone_key:
        commands = [["train", *common, *opts, f"{backbone_key}.pretrained={args.output}"]]
    else:
        commands = [
            ["val", *common, "--model_path", args.output, *(opts if args.opts else [])],
            ["train", *common, *opts, f"model.pretrained={args.output}"],
        ]
    lines = "\n".join(shlex.join(["paddle-pointrend", *command]) for command in commands)
    logger.info(f"To use them:\n{lines}")
