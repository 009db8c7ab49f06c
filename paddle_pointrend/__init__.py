"""PointRend for PaddlePaddle. Importing it fixes PaddleSeg where that needs it and registers the components."""

import os

from paddle_pointrend import environment

ENVIRONMENT_SET = environment.prepare_command_line()  # before the first import of paddle: afterwards it has no effect

__version__ = "0.1.0"
__all__: list[str] = []

if not environment.runs_doctor():
    from paddle_pointrend.deploy.predictor import Predictor

    __all__ += ["Predictor"]

# Where exported networks run in OpenVINO or ONNX Runtime and nothing else is done, Paddle is not needed.
if not environment.runs_doctor() and os.environ.get("PADDLE_POINTREND_RUNTIME_ONLY") != "1":
    from paddle_pointrend.losses import PointSampledCrossEntropyLoss
    from paddle_pointrend.models.fpn import FPN
    from paddle_pointrend.models.point_head import PointHead
    from paddle_pointrend.models.pointrend import PointRendSeg
    from paddle_pointrend.models.semantic_fpn import SemanticFPN
    from paddle_pointrend.paddleseg import compat, evaluate, load_model
    from paddle_pointrend.paddleseg.registry import register_components
    from paddle_pointrend.points import (
        calculate_uncertainty,
        point_sample,
        sample_training_points,
        scatter_paddle,
        select_uncertain_points,
    )

    __all__ += [
        "FPN",
        "PointHead",
        "PointRendSeg",
        "PointSampledCrossEntropyLoss",
        "SemanticFPN",
        "calculate_uncertainty",
        "evaluate",
        "load_model",
        "point_sample",
        "sample_training_points",
        "scatter_paddle",
        "select_uncertain_points",
    ]

    compat.apply()
    register_components()
