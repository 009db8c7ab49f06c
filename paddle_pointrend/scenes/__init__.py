"""The built-in data: street scenes drawn by our own code, in the Cityscapes folder layout and its 19 classes.

Imports data/ and files.py; what is inside need not be known.
"""

from paddle_pointrend.data.cityscapes import CLASSES, IGNORE_INDEX, PALETTE
from paddle_pointrend.scenes.canvas import CATEGORIES
from paddle_pointrend.scenes.dataset import draw_instances, draw_scene, photograph, scene_seed, write_dataset

__all__ = [
    "CATEGORIES",
    "CLASSES",
    "IGNORE_INDEX",
    "PALETTE",
    "draw_instances",
    "draw_scene",
    "photograph",
    "scene_seed",
    "write_dataset",
]
