"""Fixes PaddleSeg 2.8.0's code that mixes types: in Paddle 3 float times integer is a TypeError.

Each fix answers one such failure and is made only where the installed PaddleSeg shows it.
"""

import contextlib
import functools
import importlib
import inspect
import threading
from collections.abc import Callable, Iterator

import paddle
from paddleseg.models import losses

from paddle_pointrend.paddleseg.probes import fails_with

_LOCK = threading.RLock()
_FAILURE = "Type promotion only support"


def cast_to_left(left: paddle.Tensor, right: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Casts right to the type of left. This was Paddle 2's rule, whatever the types."""
    return left, right.astype(left.dtype)


def cast_to_wider(left: paddle.Tensor, right: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Casts bool to integer and both to float, as NumPy does."""
    if _width(left) < _width(right):
        return left.astype(right.dtype), right
    return left, right.astype(left.dtype)


def _width(tensor):
    if tensor.is_floating_point():
        return 2
    return int(tensor.dtype != paddle.bool)


# Losses of PaddleSeg that mix types: class, method to patch, rule, constructor arguments that reach the
# failing lines. CrossEntropyLoss is patched one level down, where the losses derived from it pass too. With
# class weights its label * mask has to stay integer, for one_hot; label * log(probability) in
# RelaxBoundaryLoss has to become float.
MIXED_TYPE_LOSSES: tuple[tuple[str, str, Callable, tuple[dict, ...]], ...] = (
    ("CrossEntropyLoss", "_post_process_loss", cast_to_left, ({}, {"weight": [1.0, 1.0]})),
    ("PointCrossEntropyLoss", "forward", cast_to_left, ({},)),
    ("OhemCrossEntropyLoss", "forward", cast_to_wider, ({"min_kept": 1},)),
    ("OhemEdgeAttentionLoss", "forward", cast_to_wider, ({"min_kept": 1},)),
    ("RelaxBoundaryLoss", "forward", cast_to_wider, ({},)),
    ("DualTaskLoss", "forward", cast_to_wider, ({},)),
    ("RMILoss", "forward", cast_to_wider, ({"num_classes": 2},)),
)


def patch_losses() -> list[str]:
    """Fixes the TypeError "Type promotion only support ..." of CrossEntropyLoss and others that mix types.

    The formulas stay PaddleSeg's own; only what they cannot mix is cast.
    """
    return [
        _cast_inside(getattr(losses, name), method, rule)
        for name, method, rule, variants in MIXED_TYPE_LOSSES
        if hasattr(losses, name)
        and any(_refuses_to_mix(functools.partial(_try_loss, name, kwargs)) for kwargs in variants)
    ]


def patch_flow_warp() -> list[str]:
    """Fixes the TypeError "Type promotion only support ..." of SFNet, which divides a flow field by integer sizes."""
    module = importlib.import_module("paddleseg.models.sfnet")
    return [
        _cast_inside(cls, "flow_warp", cast_to_wider)
        for cls in vars(module).values()
        if inspect.isclass(cls) and "flow_warp" in vars(cls) and _refuses_to_mix(functools.partial(_try_flow_warp, cls))
    ]


@contextlib.contextmanager
def mixed_types(rule: Callable[[paddle.Tensor, paddle.Tensor], tuple[paddle.Tensor, paddle.Tensor]]) -> Iterator[None]:
    """Lets `rule` cast one of two tensors where Paddle 3 refuses `+ - * /` because their types differ.

    A context manager. Operations that Paddle 3 accepts are as ever. Holds for the whole process, one thread at a time;
    nested, the outermost rule holds.

    Args:
        rule: cast_to_left or cast_to_wider: takes both tensors, returns two of one type.
    """
    names = ("__add__", "__sub__", "__mul__", "__truediv__")
    with _LOCK:
        saved = {name: getattr(paddle.Tensor, name) for name in names}
        try:
            for name, operator in saved.items():
                setattr(paddle.Tensor, name, _casting(operator, rule))
            yield
        finally:
            for name, operator in saved.items():
                setattr(paddle.Tensor, name, operator)


def _casting(operator, rule):
    def patched(left, right):
        try:
            return operator(left, right)
        except TypeError as failure:
            if _FAILURE not in str(failure) or not isinstance(right, paddle.Tensor):
                raise
            return operator(*rule(left, right))

    return patched


def _cast_inside(cls, method, rule):
    original = getattr(cls, method)

    @functools.wraps(original)
    def patched(*args, **kwargs):
        with mixed_types(rule):
            return original(*args, **kwargs)

    setattr(cls, method, patched)
    return cls.__name__


def _try_loss(name, kwargs):
    """Runs one loss on 16x16 pixels of two classes: RMILoss takes no less."""
    logits = paddle.zeros([1, 2, 16, 16], dtype="float32")
    label = paddle.tile(paddle.arange(16, dtype="int64") % 2, [1, 16, 1])
    if name == "OhemEdgeAttentionLoss":
        logits = (logits, paddle.ones_like(logits[:, :1]))  # edges everywhere: elsewhere it ignores the label
    elif name == "PointCrossEntropyLoss":
        logits = [logits[:, :, 0], paddle.full([1, 16, 2], 0.5, dtype="float32")]
    getattr(losses, name)(**kwargs)(logits, label)


def _try_flow_warp(cls):
    features = paddle.zeros([1, 1, 2, 2], dtype="float32")
    flow = paddle.zeros([1, 2, 2, 2], dtype="float32")
    cls.flow_warp(None, features, flow, paddle.to_tensor([2, 2], dtype="int32"))


def _refuses_to_mix(call):
    return fails_with(TypeError, _FAILURE, call)
