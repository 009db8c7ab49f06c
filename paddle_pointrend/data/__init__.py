"""What goes into a network: class names and palettes, and the references' transforms that PaddleSeg lacks.

Imports NumPy and OpenCV only, so that a deployment without Paddle can use it.
"""

from paddle_pointrend.data import cityscapes
from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.data.transforms import PhotoMetricDistortion, RandomCrop, RandomResize, RGBToBGR

__all__ = [
    "PhotoMetricDistortion",
    "RGBToBGR",
    "RandomCrop",
    "RandomResize",
    "cityscapes",
    "default_palette",
]
