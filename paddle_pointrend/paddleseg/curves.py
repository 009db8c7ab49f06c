"""The curves of a training, from what `train --use_vdl` wrote."""

from __future__ import annotations

import os
from pathlib import Path

from paddleseg.utils import logger
from visualdl import LogReader

from paddle_pointrend.errors import one_line

_NAMES = {
    "Train/loss": "loss",
    "Train/lr": "learning rate",
    "Evaluate/mIoU": "mIoU on the val images",
    "Evaluate/Acc": "pixel accuracy on the val images",
    "Evaluate/box_ap": "box AP on the val images",
    "Evaluate/mask_ap": "mask AP on the val images",
    "Evaluate/boundary_ap": "boundary AP on the val images",
}
_LOSSES = ["loss on the coarse map", "loss on the points"]


def read_curves(folder: str | os.PathLike, *, refines: bool = True) -> dict[str, tuple[list[int], list[float]]]:
    """Reads the curves of a training; of one that was resumed, all its parts.

    Args:
        folder: its --save_dir.
        refines: whether the model is PointRend's: then two losses are of the coarse map and of the points, and the val
            images were measured refined.

    Returns:
        dict from a curve's name to (iterations, values); empty where the training wrote none.
        A damaged file is left out.
    """
    points: dict[str, dict[int, float]] = {}
    for file in sorted(Path(folder).glob("vdlrecords.*"), key=lambda path: path.stat().st_mtime):
        try:
            reader = LogReader(file_path=str(file))
        except Exception as error:  # what protobuf and VisualDL make of the half record of a killed training
            logger.warning(f"{file} is damaged, its curves are left out: {one_line(error)}")
            continue
        for tag, records in reader.log_data["scalar"].items():
            values = {record.id: record.value for record in records}
            points.setdefault(tag.replace("%", "/"), {}).update(values)  # as VisualDL keeps a slash
    losses = {tag: tag.removeprefix("Train/loss_") for tag in sorted(points) if tag.startswith("Train/loss_")}
    numbered = bool(losses) and all(part.isdigit() for part in losses.values())  # as PaddleSeg's trainer does
    titles = [f"loss {i if numbered else part}" for i, part in enumerate(losses.values(), start=1)]
    names = dict(zip(losses, _LOSSES if numbered and refines and len(losses) == 2 else titles))
    names |= {tag: name for tag, name in _NAMES.items() if not (numbered and tag == "Train/loss")}
    if refines:
        names = {tag: f"{name}, refined" if tag.startswith("Evaluate/") else name for tag, name in names.items()}
    curves = {name: sorted(points[tag].items()) for tag, name in names.items() if tag in points}
    return {name: ([i for i, _ in curve], [value for _, value in curve]) for name, curve in curves.items()}
