"""Measures and shows predictions: mIoU and boundary IoU, pictures, curves, the HTML report.

Imports data/; takes arrays, knows no network and neither Paddle nor PaddleSeg.
"""

from paddle_pointrend.evaluation.metrics import SegmentationMetrics, comparison_table

__all__ = ["SegmentationMetrics", "comparison_table"]
