"""The command line, `paddle-pointrend`.

Each command is a file with `add_arguments(parser)` and `run(args) -> exit code`: it parses arguments, calls the library
and says what was done. It may import everything else; nothing imports it.
"""

import importlib
import sys
from collections.abc import Sequence

from paddle_pointrend.cli.parser import ArgumentParser
from paddle_pointrend.environment import DOCTOR
from paddle_pointrend.errors import UsageError, one_line

COMMANDS = {
    "train": "train a model with PaddleSeg's trainer",
    "val": "measure trained weights, coarse against refined",
    "compare": "put the measures of two runs side by side",
    "predict": "segment an image, a folder or a list of images",
    "export": "write trained weights as a file for Paddle Inference, ONNX Runtime or OpenVINO",
    "prepare": "turn what a labelling tool wrote into a data set to train on",
    "attach": "write the config that puts PointRend on a trained model",
    "convert": "turn a torch checkpoint into weights of a network here",
    "app": "show a page in the browser that sharpens photographs",
    "configs": "list and copy the configs that come with the package",
    DOCTOR: "print versions and devices, and what does not go together",
    "demo": "train, measure and show PointRend on built-in street scenes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: the arguments, None for the program's.

    Returns:
        The exit code: 0 done, 1 done in part, 2 a mistake in what was asked (one line on stderr says which).
        Any other failure is a fault of the program and keeps its traceback.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = argv[0] if argv and argv[0] in COMMANDS else None
    try:
        args = _parser(name).parse_args(argv or ["--help"])
        return args.run(args)
    except _mistakes(name) as error:
        print(f"{' '.join(['paddle-pointrend', name or '']).strip()}: error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:  # --help and --version
        return stop.code if isinstance(stop.code, int) and stop.code else (0 if argv else 2)


def _mistakes(name):
    """The exceptions that are a mistake in what was asked. Of the doctor's only those that need no Paddle."""
    if name == DOCTOR:
        return (UsageError,)
    from paddle_pointrend.models.weights import CheckpointError

    return (UsageError, CheckpointError)


def _parser(name):
    """Builds the parser, with the arguments of the command that is asked for: the others are not even imported."""
    from paddle_pointrend import __version__

    parser = ArgumentParser(prog="paddle-pointrend", description="PointRend for PaddlePaddle", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"paddle-pointrend {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command, summary in COMMANDS.items():
        subparser = commands.add_parser(command, help=summary, description=summary, allow_abbrev=False)
        if command == name:
            module = importlib.import_module(f"{__name__}.{command}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser
