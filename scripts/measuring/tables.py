"""The scores of a SegmentationMetrics as cells of Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paddle_pointrend.evaluation.metrics import SegmentationMetrics

SCORES = {"miou": "mIoU", "boundary_iou": "boundary IoU"}  # key of SegmentationMetrics.summary -> title


def scores_of(metrics: SegmentationMetrics) -> dict[str, float | None]:
    """Picks the SCORES of a SegmentationMetrics."""
    summary = metrics.summary()
    return {key: summary[key] for key in SCORES}


def score_cells(record: Mapping[str, float | None]) -> str:
    """Writes the SCORES of a record in per cent, as cells of a Markdown row."""
    return " | ".join(percent(record[key]) for key in SCORES)


def percent(value: float | None) -> str:
    """Writes a share in per cent, a dash where there is none."""
    return "-" if value is None else f"{100 * value:.2f}"
