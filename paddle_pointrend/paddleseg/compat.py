"""What PaddleSeg 2.8.0 needs to train and evaluate on Paddle 3, mended from outside.

PaddleSeg 2.8.0 was written for Paddle 2, where the sum of a tensor had shape [1] and tensors of two types
could be multiplied. In Paddle 3 the sum has shape [], float times integer is a TypeError, and the old profiler
is gone. Each mend here answers one such failure and is made only where the installed PaddleSeg shows it: its
develop branch is left as it is.
"""

import contextlib
import functools
import importlib
import inspect
import logging
import re
import threading
import warnings

import paddle
import paddleseg
from paddleseg.models import losses
from paddleseg.utils import metrics, train_profiler

from paddle_pointrend.evaluation.confusion import class_areas
from paddle_pointrend.paddleseg import profiler

_LOGGER = logging.getLogger(__name__)
_MIXING_LOCK = threading.RLock()
_MIXING_FAILURE = "Type promotion only support"


def left_wins(left, right):
    """Casts right to the type of left. This was Paddle 2's rule, whatever the types."""
    return left, right.astype(left.dtype)


def wider_wins(left, right):
    """Casts bool to integer and both to float, as NumPy does."""
    if _width(left) < _width(right):
        return left.astype(right.dtype), right
    return left, right.astype(left.dtype)


def _width(tensor):
    if tensor.is_floating_point():
        return 2
    return int(tensor.dtype != paddle.bool)


# Losses of PaddleSeg that mix types: class, method to mend, rule, constructor arguments that reach the
# failing lines. CrossEntropyLoss is mended one level down, where the losses derived from it pass too. With
# class weights its label * mask has to stay integer, for one_hot; label * log(probability) in
# RelaxBoundaryLoss has to become float.
_MIXING_LOSSES = (
    ("CrossEntropyLoss", "_post_process_loss", left_wins, ({}, {"weight": [1.0, 1.0]})),
    ("PointCrossEntropyLoss", "forward", left_wins, ({},)),
    ("OhemCrossEntropyLoss", "forward", wider_wins, ({"min_kept": 1},)),
    ("OhemEdgeAttentionLoss", "forward", wider_wins, ({"min_kept": 1},)),
    ("RelaxBoundaryLoss", "forward", wider_wins, ({},)),
    ("DualTaskLoss", "forward", wider_wins, ({},)),
    ("RMILoss", "forward", wider_wins, ({"num_classes": 2},)),
)


def apply():
    """Mends what is broken in the installed PaddleSeg. A second call changes nothing.

    To find out what is broken, small tensors are sent through the host's functions (CPU, milliseconds).
    Paddle's random state, device and gradient mode stay as they were. In Paddle's static mode, where
    PaddleSeg does not train, nothing is done.

    Returns:
        The names of what this call mended; empty where nothing needed it.
    """
    if not paddle.in_dynamic_mode():
        return []
    with _without_traces():
        mended = [*mend_losses(), *mend_flow_warp(), *mend_calculate_area(), *mend_trainer(), *mend_profiler()]
    if mended:
        _LOGGER.debug("mended PaddleSeg %s: %s", paddleseg.__version__, ", ".join(mended))
    return mended


def mend_losses():
    """TypeError "Type promotion only support ..." from CrossEntropyLoss and others that mix types.

    The formulas stay the host's own; only what they cannot mix is cast.
    """
    return [
        _mix_inside(getattr(losses, name), method, rule)
        for name, method, rule, variants in _MIXING_LOSSES
        if hasattr(losses, name)
        and any(_refuses_to_mix(functools.partial(_try_loss, name, kwargs)) for kwargs in variants)
    ]


def mend_flow_warp():
    """TypeError "Type promotion only support ..." from SFNet, which divides a flow field by integer sizes."""
    module = importlib.import_module("paddleseg.models.sfnet")
    return [
        _mix_inside(cls, "flow_warp", wider_wins)
        for cls in vars(module).values()
        if inspect.isclass(cls) and "flow_warp" in vars(cls) and _refuses_to_mix(functools.partial(_try_flow_warp, cls))
    ]


def mend_calculate_area():
    """ValueError from `paddle.concat` of 0-D tensors, in every evaluation.

    The host compares every pixel with every class; the replacement counts all pairs of classes in one pass.
    """
    labels = paddle.to_tensor([[[0, 1]]], dtype="int64")
    if not _raises(ValueError, "", functools.partial(metrics.calculate_area, labels, labels, 2)):
        return []
    # paddleseg.core.val looks the function up in its module at every call: one place to replace it.
    metrics.calculate_area = functools.wraps(metrics.calculate_area)(calculate_area)
    return ["calculate_area"]


def mend_trainer():
    """IndexError from `l[0] / log_iters` on 0-D losses, at the trainer's first log line.

    The trainer gets losses of shape [1], from its own `loss_computation` as from a model's.
    """
    # As an attribute, paddleseg.core.train is the function; import_module finds the module of that name.
    module = importlib.import_module("paddleseg.core.train")
    if not _indexes_losses(module.train):
        return []
    module.loss_computation = _with_one_dimension(module.loss_computation)
    original = module.train

    @functools.wraps(original)
    def train(model, *args, **kwargs):
        with _one_dimensional_losses(model):
            return original(model, *args, **kwargs)

    module.train = paddleseg.core.train = train
    return ["train"]


def mend_profiler():
    """AttributeError "module 'paddle.utils' has no attribute 'profiler'" from a training with `profiler_options`.

    The same options are followed with paddle.profiler.
    """
    # Read in its compiled code: a call would start a profiler where it works.
    if "start_profiler" not in train_profiler.add_profiler_step.__code__.co_names or hasattr(paddle.utils, "profiler"):
        return []
    original = train_profiler.add_profiler_step
    # The trainer looks the function up in its module at every call: one place to replace it.
    train_profiler.add_profiler_step = functools.wraps(original)(profiler.add_profiler_step)
    return ["add_profiler_step"]


def calculate_area(pred, label, num_classes, ignore_index=255):
    """Intersection, prediction and label area of each class, as PaddleSeg's own function defines them.

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
    return tuple(paddle.to_tensor(area, dtype="int64") for area in areas)


@contextlib.contextmanager
def mixed_types(rule):
    """Inside, where Paddle 3 refuses `+ - * /` of tensors of two types, `rule` casts one of them.

    Operations that Paddle 3 accepts are as ever. Holds for the whole process, one thread at a time; nested,
    the outermost rule holds.

    Args:
        rule: left_wins or wider_wins: takes both tensors, returns two of one type.
    """
    names = ("__add__", "__sub__", "__mul__", "__truediv__")
    with _MIXING_LOCK:
        saved = {name: getattr(paddle.Tensor, name) for name in names}
        try:
            for name, operator in saved.items():
                setattr(paddle.Tensor, name, _mixing(operator, rule))
            yield
        finally:
            for name, operator in saved.items():
                setattr(paddle.Tensor, name, operator)


def _mixing(operator, rule):
    def mended(left, right):
        try:
            return operator(left, right)
        except TypeError as failure:
            if _MIXING_FAILURE not in str(failure) or not isinstance(right, paddle.Tensor):
                raise
            return operator(*rule(left, right))

    return mended


def _mix_inside(cls, method, rule):
    original = getattr(cls, method)

    @functools.wraps(original)
    def mended(*args, **kwargs):
        with mixed_types(rule):
            return original(*args, **kwargs)

    setattr(cls, method, mended)
    return cls.__name__


@contextlib.contextmanager
def _one_dimensional_losses(model):
    """Inside, `model.loss_computation` returns losses of shape [1]. A model without it stays as it is."""
    original = getattr(model, "loss_computation", None)
    if original is None:
        yield
        return
    own = vars(model).get("loss_computation")
    model.loss_computation = _with_one_dimension(original)
    try:
        yield
    finally:
        del model.loss_computation
        if own is not None:
            model.loss_computation = own


def _with_one_dimension(loss_computation):
    @functools.wraps(loss_computation)
    def mended(*args, **kwargs):
        return [loss.reshape([1]) if loss.ndim == 0 else loss for loss in loss_computation(*args, **kwargs)]

    return mended


def _indexes_losses(train):
    """Whether this trainer takes the first element of each loss: read in its source, a run takes seconds."""
    try:
        # The code object's, not the function's: for our own wrapper that would be the host's source.
        source = inspect.getsource(train.__code__)
    except (OSError, TypeError):  # no source to read: losses of shape [1] do no harm
        return not hasattr(train, "__wrapped__")
    return re.search(r"\[0\]\s*/\s*log_iters", source) is not None


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
    return _raises(TypeError, _MIXING_FAILURE, call)


def _raises(error, words, call):
    """Whether call fails in just this way. A failure of another kind is none that is mended here."""
    try:
        call()
    except error as failure:
        return words in str(failure)
    except Exception:
        return False
    return False


@contextlib.contextmanager
def _without_traces():
    """CPU, no gradients, no warnings; device and random state are put back afterwards."""
    device = paddle.get_device()
    random_state = paddle.get_rng_state("cpu")  # DualTaskLoss draws random numbers
    paddle.set_device("cpu")
    try:
        with paddle.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        paddle.set_rng_state(random_state, "cpu")
        paddle.set_device(device)
