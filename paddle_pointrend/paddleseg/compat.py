"""What PaddleSeg 2.8.0 needs to train and evaluate on Paddle 3, fixed from outside.

PaddleSeg 2.8.0 was written for Paddle 2, where the sum of a tensor had shape [1] and tensors of two types
could be multiplied. In Paddle 3 the sum has shape [], float times integer is a TypeError (mixed_types.py), and the old
profiler is gone; some losses were wrong before (loss_fixes.py). Each fix answers one such failure and is made only
where the installed PaddleSeg shows it: its develop branch is left as it is.
"""

import functools
import importlib
import inspect
import logging
import re
import sys
import time
from typing import Any

import paddle
import paddleseg
from paddleseg.utils import logger, metrics, train_profiler

from paddle_pointrend.evaluation.confusion import class_areas
from paddle_pointrend.paddleseg import profiler
from paddle_pointrend.paddleseg.loading import patch_downloads, patch_evaluated_names, patch_weight_loading
from paddle_pointrend.paddleseg.loss_computation import wrapped_loss_computation
from paddle_pointrend.paddleseg.loss_fixes import patch_empty_lovasz, patch_label_changes, patch_mean_iou
from paddle_pointrend.paddleseg.mixed_types import patch_flow_warp, patch_losses
from paddle_pointrend.paddleseg.probes import fails_with, without_side_effects

_LOGGER = logging.getLogger(__name__)


def apply() -> list[str]:
    """Patches what is broken in the installed PaddleSeg. A second call changes nothing.

    To find out what is broken, small tensors are sent through its functions (CPU, milliseconds).
    Paddle's random state, device and gradient mode stay as they were. In Paddle's static mode, where
    PaddleSeg does not train, nothing is done.

    Returns:
        The names of what this call patched; empty where nothing needed it.
    """
    if not paddle.in_dynamic_mode():
        return []
    with without_side_effects():
        patched = [*patch_losses(), *patch_flow_warp(), *patch_calculate_area(), *patch_trainer(), *patch_profiler()]
        patched += [*patch_label_changes(), *patch_empty_lovasz(), *patch_mean_iou(), *patch_weight_loading()]
        patched += [*patch_downloads(), *patch_evaluated_names(), *patch_log()]
    if patched:
        _LOGGER.debug("patched PaddleSeg %s: %s", paddleseg.__version__, ", ".join(patched))
    return patched


def patch_calculate_area() -> list[str]:
    """Fixes the ValueError of `paddle.concat` of 0-D tensors, in every evaluation.

    PaddleSeg compares every pixel with every class; the replacement counts all pairs of classes in one pass.
    """
    labels = paddle.to_tensor([[[0, 1]]], dtype="int64")
    if not fails_with(ValueError, "", functools.partial(metrics.calculate_area, labels, labels, 2)):
        return []
    # paddleseg.core.val looks the function up in its module at every call: one place to replace it.
    metrics.calculate_area = functools.wraps(metrics.calculate_area)(calculate_area)
    return ["calculate_area"]


def patch_trainer() -> list[str]:
    """Fixes the IndexError of `l[0] / log_iters` on 0-D losses, at the trainer's first log line.

    The trainer gets losses of shape [1], from its own `loss_computation` as from a model's.
    """
    # As an attribute, paddleseg.core.train is the function; import_module finds the module of that name.
    module: Any = importlib.import_module("paddleseg.core.train")
    if not _indexes_losses(module.train):
        return []
    module.loss_computation = _with_one_dimension(module.loss_computation)
    original = module.train

    @functools.wraps(original)
    def train(model, *args, **kwargs):
        with wrapped_loss_computation(model, _with_one_dimension):
            return original(model, *args, **kwargs)

    module.train = paddleseg.core.train = train
    return ["train"]


def patch_profiler() -> list[str]:
    """Fixes the AttributeError "module 'paddle.utils' has no attribute 'profiler'" of `profiler_options`.

    The trainer follows the same options with paddle.profiler.
    """
    # Read in its compiled code: a call would start a profiler where it works.
    if "start_profiler" not in train_profiler.add_profiler_step.__code__.co_names or hasattr(paddle.utils, "profiler"):
        return []
    original = train_profiler.add_profiler_step
    # The trainer looks the function up in its module at every call: one place to replace it.
    train_profiler.add_profiler_step = functools.wraps(original)(profiler.add_profiler_step)
    return ["add_profiler_step"]


def patch_log() -> list[str]:
    """Fixes log lines whose letters beyond ASCII are printed as the Latin letters of their UTF-8 bytes."""
    original: Any = logger.log
    if "latin1" not in original.__code__.co_consts:
        return []
    # info, warning and the others look the function up in its module at every call: one place to replace it.
    module: Any = logger
    module.log = functools.wraps(original)(log)
    return ["log"]


def log(level: int = 2, message: object = "") -> None:
    """Prints a line of PaddleSeg's log; a letter that standard output cannot encode as its number."""
    if paddle.distributed.ParallelEnv().local_rank or logger.log_level < level:
        return
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} [{logger.levels[level]}]\t{message}"
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def calculate_area(
    pred: paddle.Tensor, label: paddle.Tensor, num_classes: int, ignore_index: int = 255
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Measures intersection, prediction and label area of each class, as PaddleSeg's own function defines them.

    Args:
        pred: integers [N, 1, H, W] or [N, H, W], predicted classes.
        label: integers [N, 1, H, W] or [N, H, W], true classes.
        num_classes: K.
        ignore_index: pixels with this label count in no intersection and no prediction area.

    Returns:
        Three int64 tensors [K], in pixels.

    Raises:
        ValueError: pred and label differ in shape.
    """
    pred, label = (paddle.squeeze(x, axis=1) if x.ndim == 4 else x for x in (pred, label))
    if pred.shape != label.shape:
        raise ValueError(f"pred {pred.shape} and label {label.shape} differ in shape, expected the same")
    areas = class_areas(pred.astype("int64").numpy(), label.astype("int64").numpy(), num_classes, ignore_index)
    intersection, pred_area, label_area = (paddle.to_tensor(area, dtype="int64") for area in areas)
    return intersection, pred_area, label_area


def _with_one_dimension(loss_computation):
    @functools.wraps(loss_computation)
    def patched(*args, **kwargs):
        return [loss.reshape([1]) if loss.ndim == 0 else loss for loss in loss_computation(*args, **kwargs)]

    return patched


def _indexes_losses(train):
    """Checks if this trainer takes the first element of each loss: read in its source, a run takes seconds."""
    try:
        # The code object's, not the function's: for our own wrapper that would be PaddleSeg's source.
        source = inspect.getsource(train.__code__)
    except (OSError, TypeError):  # no source to read: losses of shape [1] do no harm
        return not hasattr(train, "__wrapped__")
    return re.search(r"\[0\]\s*/\s*log_iters", source) is not None
