"""Exported networks: writing them, running them in any runtime, images of any size.

Imports models/, inference/ and data/, and paddleseg/ inside Predictor.from_config. Runtimes are imported when one is
used, Paddle by export.py and tracing.py.
"""

from paddle_pointrend.deploy.deploy_file import DeployFile, is_exported
from paddle_pointrend.deploy.errors import ExportError, RuntimeLoadError
from paddle_pointrend.deploy.instance_predictor import InstancePredictor
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.runtimes import PRECISIONS, RUNTIMES, fastest_runtime, installed_runtimes, load_runtime

# export_model and compare_with_eager stand in deploy/export.py, which needs Paddle; what is exported here does not.
__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "DeployFile",
    "ExportError",
    "InstancePredictor",
    "Predictor",
    "RuntimeLoadError",
    "fastest_runtime",
    "installed_runtimes",
    "is_exported",
    "load_runtime",
]
