"""What the package exists for: sampling, uncertainty, choosing points, scatter, adaptive subdivision (subdivision.py).

Imports Paddle, NumPy and OpenCV; nothing else of this package.
"""

from paddle_pointrend.points.execution import choose_execution
from paddle_pointrend.points.generic import Execution
from paddle_pointrend.points.sampling import point_sample
from paddle_pointrend.points.scatter import scatter_paddle
from paddle_pointrend.points.selection import calculate_uncertainty, sample_training_points, select_uncertain_points
from paddle_pointrend.points.subdivision import Subdivision, SubdivisionStep

__all__ = [
    "Execution",
    "Subdivision",
    "SubdivisionStep",
    "calculate_uncertainty",
    "choose_execution",
    "point_sample",
    "sample_training_points",
    "scatter_paddle",
    "select_uncertain_points",
]
