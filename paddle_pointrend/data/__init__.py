"""What goes into a network: the one reader of images, class names and palettes, the references' transforms.

Imports NumPy, OpenCV, Pillow and, for instances, pycocotools, so that a deployment without Paddle can use it.
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
