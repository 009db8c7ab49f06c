"""paddle-pointrend configs: the configs that come with the package, listed and copied."""

import argparse

from paddle_pointrend.paddleseg.config_files import copy_configs, list_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="list|copy", required=True)
    actions.add_parser("list", help="print each config and its first line")
    copy = actions.add_parser("copy", help="copy configs, and what they inherit, to change them")
    copy.add_argument("names", nargs="+", metavar="NAME", help="as list prints it")
    copy.add_argument("--to", default="configs", metavar="FOLDER", help="where to, default: configs")


def run(args: argparse.Namespace) -> int:
    """Lists or copies; returns the exit code."""
    if args.action == "list":
        print("\n".join(f"{name}\n    {comment}" for name, comment in list_configs().items()))
    else:
        for path in copy_configs(args.names, args.to):
            print(f"Wrote {path}")
    return 0
