"""paddle-pointrend app: a page in the browser that sharpens photographs."""

import argparse

from paddle_pointrend.app import load_network, serve
from paddle_pointrend.cli.common import positive_int, set_device
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--model_path", required=True, help="a folder that export wrote, or weights of --config")
    parser.add_argument("--config", help="YAML config of the weights; an exported folder has none")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY=VALUE", help="change the config")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="default: gpu where Paddle finds one, else cpu")
    parser.add_argument(
        "--host", default="127.0.0.1", help="who may come: 127.0.0.1, this machine, is the default; 0.0.0.0 all"
    )
    parser.add_argument("--port", type=positive_int, default=7860, help="default: 7860")
    parser.add_argument("--max_mb", type=positive_int, default=20, help="megabytes of an upload, default: 20")


def run(args: argparse.Namespace) -> int:
    """Serves the page until it is interrupted; returns the exit code."""
    set_device(args.device)
    try:
        network = load_network(args.model_path, args.config, args.opts)
    except RuntimeLoadError as error:
        raise UsageError(f"--model_path {args.model_path}: {error}") from error
    serve(network, host=args.host, port=args.port, max_megabytes=args.max_mb)
    return 0
