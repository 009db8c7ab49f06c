"""Exported networks: writing them, running them in any runtime, images of any size.

Imports models/, inference/ and data/, and paddleseg/ inside Predictor.from_config. Runtimes are imported when one is
used, Paddle by export.py and tracing.py.
"""

from paddle_pointrend.deploy.predictor import Predictor

__all__ = ["Predictor"]
