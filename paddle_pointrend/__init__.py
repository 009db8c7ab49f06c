"""PointRend for PaddlePaddle. Importing the package mends PaddleSeg where it needs it and registers the components."""

from paddle_pointrend import environment

ENVIRONMENT_SET = environment.prepare_command_line()  # before the first import of paddle: afterwards it has no effect

from paddle_pointrend import compat  # noqa: E402
from paddle_pointrend.losses import PointSampledCrossEntropyLoss  # noqa: E402
from paddle_pointrend.point_head import PointHead  # noqa: E402
from paddle_pointrend.pointrend import PointRendSeg  # noqa: E402
from paddle_pointrend.points import (  # noqa: E402
    calculate_uncertainty,
    point_sample,
    sample_training_points,
    scatter_paddle,
    select_uncertain_points,
)
from paddle_pointrend.registry import register_components  # noqa: E402
from paddle_pointrend.semantic_fpn import FPN, SemanticFPN  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "FPN",
    "PointHead",
    "PointRendSeg",
    "PointSampledCrossEntropyLoss",
    "SemanticFPN",
    "calculate_uncertainty",
    "point_sample",
    "sample_training_points",
    "scatter_paddle",
    "select_uncertain_points",
]

compat.apply()
register_components()
