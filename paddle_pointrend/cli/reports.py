"""What val --report does for labels and for instances alike: its folder, and what the page says of the run."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

from paddleseg.utils import logger

from paddle_pointrend.cli.common import positive_int, versions
from paddle_pointrend.errors import UsageError
from paddle_pointrend.files import check_writable, write_json
from paddle_pointrend.paddleseg.reporting import check_alone

METRICS = "metrics.json"


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --report and --report_images."""
    parser.add_argument(
        "--report",
        metavar="FOLDER",
        help="write report.html there: the images that refinement changes most, or that are best and worst, tables, "
        "training curves; the measures too, as metrics.json",
    )
    parser.add_argument(
        "--report_images",
        type=positive_int,
        default=4,
        metavar="N",
        help="images in the report that gain most, or are best, and as many that lose most, or are worst, default: 4",
    )


def make_report_folder(path: str) -> None:
    """Makes the folder of --report: before the work rather than after it.

    Raises:
        UsageError: it cannot be written into, or there are several processes.
    """
    check_alone()
    try:
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
        check_writable(pathlib.Path(path) / METRICS)
    except OSError as error:
        raise UsageError(f"--report {path}: cannot write into this folder: {error.strerror}") from error


def describe_run(args: argparse.Namespace, num_images: int, **more: str) -> dict[str, Any]:
    """Says for a report's page what ran: title, metadata, the folder of the training's curves, images to show."""
    metadata = {
        "config": args.config,
        **({"changed by --opts": " ".join(args.opts)} if args.opts else {}),
        "weights": args.model_path,
        "images": num_images,
        **more,
        **versions(),
    }
    return {
        "title": pathlib.Path(args.config).stem,
        "metadata": metadata,
        "log_dir": _training_folder(args.model_path),
        "num_images": args.report_images,
    }


def finish_report(args: argparse.Namespace, written: Sequence[str], measured: dict[str, Any]) -> None:
    """Writes metrics.json into the folder of --report, and logs what is there."""
    folder = pathlib.Path(args.report)
    write_json(folder / METRICS, with_source(args, measured))
    for name in (*written, METRICS):
        logger.info(f"Wrote {folder / name}")


def with_source(args: argparse.Namespace, measured: dict[str, Any]) -> dict[str, Any]:
    """Puts config and weights before what was measured."""
    return {"config": args.config, "model_path": args.model_path, **measured}


def _training_folder(model_path):
    """The --save_dir that weights come from: the folder of iter_N/ or best_model/, else their own."""
    weights = pathlib.Path(model_path)
    folder = weights if weights.is_dir() else weights.parent
    return folder.parent if any(folder.parent.glob("vdlrecords.*")) else folder
