"""Exported networks without their refinement, to compare with."""

import pathlib
from typing import Any

from paddle_pointrend import PointRendSeg
from paddle_pointrend.deploy.export import export_model


def export_coarse(model: PointRendSeg, folder: pathlib.Path, **options: Any) -> None:
    """Exports a PointRendSeg's coarse prediction, upsampled to the image's size as its segmentor does.

    Options are export_model's.
    """
    if hasattr(model.segmentor, "forward_features"):
        export_model(model.segmentor, folder, **options)
        return
    model.num_subdivision_points, points = [], model.num_subdivision_points
    try:
        export_model(model, folder, **options)
    finally:
        model.num_subdivision_points = points
