"""From a function that runs a network to logits and labels of whole images: augmentation, sliding window, sizes.

Imports NumPy and OpenCV only; DenseCRF its library, when it is called. deploy/ and paddleseg/ both build on it, which
may not import each other.
"""

from paddle_pointrend.inference.dense_crf import DenseCRF
from paddle_pointrend.inference.logits import label_maps, predict_logits, resize_maps, undo_transforms
from paddle_pointrend.inference.options import ONE_PASS, InferenceOptions
from paddle_pointrend.inference.sliding_window import OutputError, slide, slide_whole

__all__ = [
    "ONE_PASS",
    "DenseCRF",
    "InferenceOptions",
    "OutputError",
    "label_maps",
    "predict_logits",
    "resize_maps",
    "slide",
    "slide_whole",
    "undo_transforms",
]
