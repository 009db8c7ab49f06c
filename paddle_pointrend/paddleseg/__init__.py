"""All that knows PaddleSeg: fixes for Paddle 3, registration, configs, trained models, training, datasets, checkpoints.

Imports models/, data/, inference/ and evaluation/. Only this folder and cli/ import paddleseg.
"""

from paddle_pointrend.paddleseg.configs import build, load_config
from paddle_pointrend.paddleseg.evaluation import evaluate
from paddle_pointrend.paddleseg.instance_training import train_instances
from paddle_pointrend.paddleseg.models import load_model
from paddle_pointrend.paddleseg.training import train_model

__all__ = ["build", "evaluate", "load_config", "load_model", "train_instances", "train_model"]
