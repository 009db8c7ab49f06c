"""Measures and shows predictions: mIoU, boundary IoU and AP of instances, pictures, curves, the HTML report.

Imports data/ and files.py; takes arrays, knows no network and neither Paddle nor PaddleSeg.
"""

from paddle_pointrend.evaluation.boundary import boundary_areas, boundary_width
from paddle_pointrend.evaluation.confusion import (
    class_accuracy,
    class_areas,
    class_iou,
    confusion_matrix,
    joint_histogram,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
)
from paddle_pointrend.evaluation.figures import Sample, SubdivisionStep, comparison_figure
from paddle_pointrend.evaluation.instances import InstanceMetrics
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.evaluation.report import write_report
from paddle_pointrend.evaluation.tables import comparison_table, instance_table, summary_rows

__all__ = [
    "InstanceMetrics",
    "Sample",
    "SegmentationMetrics",
    "SubdivisionStep",
    "boundary_areas",
    "boundary_width",
    "class_accuracy",
    "class_areas",
    "class_iou",
    "comparison_figure",
    "comparison_table",
    "confusion_matrix",
    "instance_table",
    "joint_histogram",
    "mean_accuracy",
    "mean_iou",
    "pixel_accuracy",
    "summary_rows",
    "write_report",
]
