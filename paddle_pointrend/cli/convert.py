"""paddle-pointrend convert: a torch checkpoint as weights of the network that a config describes."""

import io
import pathlib
import shlex

import paddle
from paddleseg.cvlibs import SegBuilder
from paddleseg.utils import logger

from paddle_pointrend.convert import BACKBONE_SOURCES, SOURCES, convert_state, left_out, read_tensors
from paddle_pointrend.errors import UsageError
from paddle_pointrend.files import check_writable, write_whole
from paddle_pointrend.paddleseg.configs import build, drop_pretrained, load_config


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="the checkpoint: .pth, .pkl of detectron2 or .safetensors")
    parser.add_argument("output", metavar="OUT.pdparams", help="where to write the weights")
    parser.add_argument(
        "--from",
        dest="layout",
        required=True,
        choices=SOURCES,
        help=f"where the checkpoint comes from; {', '.join(BACKBONE_SOURCES)} are ImageNet backbones",
    )
    parser.add_argument("--config", required=True, help="YAML config of the network that will load the weights")
    parser.add_argument("--opts", nargs="+", metavar="KEY=VALUE", help="change the config")


def run(args):
    """Converts; returns the exit code."""
    output = pathlib.Path(args.output)
    if output.suffix != ".pdparams":
        raise UsageError(f"OUT must end in .pdparams, which PaddleSeg looks for; got {output}")
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        check_writable(output)
    except OSError as error:
        raise UsageError(f"{output}: cannot write this file: {error.strerror}") from error
    config = load_config(args.config, opts=args.opts)
    drop_pretrained(config.dic.get("model"))
    model = build(SegBuilder(config), args.config, "model")
    if args.layout in BACKBONE_SOURCES:
        args.backbone_key, model = _find_backbone(model, args.config)
    tensors = read_tensors(args.source)
    try:
        state = convert_state(tensors, args.layout, model)
    except ValueError as error:
        raise UsageError(f"{args.source} with --from {args.layout} and {args.config}: {error}") from error
    content = io.BytesIO()
    paddle.save({key: paddle.to_tensor(array) for key, array in state.items()}, content)
    write_whole(output, content.getvalue())
    _say_what_next(args, state, left_out(tensors, args.layout))
    return 0


def _find_backbone(model, config):
    """(its place in the config, the layer)"""
    for place, owner in (("model.segmentor", getattr(model, "segmentor", None)), ("model", model)):
        if hasattr(owner, "backbone"):
            return f"{place}.backbone", owner.backbone
    raise UsageError(f"--config {config}: its {type(model).__name__} has no backbone")


def _say_what_next(args, state, dropped):
    logger.info(f"Wrote {len(state)} tensors to {args.output}; left out, of no use here: {len(dropped)}")
    common = ["--config", args.config]
    opts = ["--opts", *(args.opts or [])]
    if args.layout in BACKBONE_SOURCES:
        commands = [["train", *common, *opts, f"{args.backbone_key}.pretrained={args.output}"]]
    else:
        commands = [
            ["val", *common, "--model_path", args.output, *(opts if args.opts else [])],
            ["train", *common, *opts, f"model.pretrained={args.output}"],
        ]
    lines = "\n".join(shlex.join(["paddle-pointrend", *command]) for command in commands)
    logger.info(f"To use them:\n{lines}")
