"""Operations on points, what the package exists for: sampling, uncertainty, choosing points, scatter.

Imports Paddle, NumPy and OpenCV; nothing else of this package.
"""

from paddle_pointrend.points.operations import (
    calculate_uncertainty,
    point_sample,
    sample_training_points,
    scatter_paddle,
    select_uncertain_points,
)

__all__ = [
    "calculate_uncertainty",
    "point_sample",
    "sample_training_points",
    "scatter_paddle",
    "select_uncertain_points",
]
