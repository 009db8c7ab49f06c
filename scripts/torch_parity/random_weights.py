"""Random weights under a reference's names, lively ones for evaluation and calm ones for training."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from torch_parity.randomness import generator

# Names of mmsegmentation and of detectron2.
_NORM = re.compile(r"(bn\d?|norm|stem\.[147]|downsample\.1)\.(weight|bias)$")
_BRANCH_END = re.compile(r"layer\d\.\d+\.bn3\.|res\d\.\d+\.conv3\.norm\.")
_SHORTCUT = re.compile(r"downsample\.1\.|shortcut\.norm\.")
_HEAD = re.compile(r"scale_heads|coarse_sem_seg_head\.p\d")
_HIDDEN_BIAS = re.compile(r"fcs\.\d\.conv\.bias|point_head\.fc\d\.bias")
_PREDICTOR = re.compile(r"(conv_seg|fc_seg|predictor)\.weight$")
# Gain of a convolution: the variance of its weights times its fan in. The first pattern that fits counts.
_LIVELY_GAINS = (
    (re.compile(r"lateral"), 0.02),
    (re.compile(r"fpn_convs|fpn_output"), 1),
    (re.compile(r"fc_seg|point_head\."), 0.1),
    (_PREDICTOR, 1),
)
_LIVELY_GAIN = 3
_CALM_GAINS = (
    (_PREDICTOR, 5),
    (_HEAD, 16),
    (re.compile(r"lateral"), 0.5),
    (re.compile(r"fpn_convs|fpn_output"), 1),
    (re.compile(r"fcs|fc\d"), 0.2),
    (re.compile(r"(layer1|res2)\.0\."), 0.5),
    (re.compile(r"(layer|res)\d\.\d+\.(conv1|downsample\.0|shortcut)\."), 0.5 / 0.2**2),  # undoes _SHORTCUT's scale
)
_CALM_GAIN = 0.5


def random_state(
    shapes: Mapping[str, Sequence[int]], seed: int, *, calm: bool = False, predictor_std: float | None = None
) -> dict[str, np.ndarray]:
    """Draws random values for every entry of a reference's checkpoint, in one of two manners.

    Filters have mean zero in both: the constant part of features after a ReLU would else decide the class everywhere.

    Lively weights are for evaluation. Half of what enters a ReLU is negative, and maps vary more from place to place
    than from channel to channel, so that few pixels are equally unsure. Residual branches are a twentieth of the scale
    of their shortcuts: random running statistics do not normalise, so 33 branches of scale 1 would double the variance
    33 times, and of scale 0.2 they still make a rounding error 17 times larger.

    Calm weights are for training, where rounding errors have to stay what they are. Two things make them grow. A ReLU
    whose input is near zero can flip, and one flipped pixel moves a gradient by far more than rounding does: so the
    norms before ReLUs shift by two and a half to four and a half deviations, up or down, and residual branches are a
    tenth of their shortcuts. And steps of SGD diverge where the loss is curved by more than 2 (1 + momentum) / lr,
    380: so the scale of the residual stream, the pyramid and the head is small.

    Args:
        shapes: name -> shape, a reference's names.
        seed: an integer.
        calm: which manner.
        predictor_std: the deviation of the weights that give logits; None for one that gives logits of order 1.

    Returns:
        Name -> array: float32, int64 zeros for num_batches_tracked.
    """
    entry = _calm_entry if calm else _lively_entry
    state = {name: _random_entry(name, tuple(shape), generator(seed, name), entry) for name, shape in shapes.items()}
    if predictor_std is not None:
        for name in filter(_PREDICTOR.search, state):
            state[name] *= np.float32(predictor_std / state[name].std())
    return state


def _random_entry(name, shape, generator, entry):
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if name.endswith("running_var"):
        return generator.uniform(0.5, 1.5, shape).astype("float32")
    if name.endswith("running_mean"):
        return generator.normal(0, 0.1, shape).astype("float32")
    return entry(name, shape, generator).astype("float32")


def _lively_entry(name, shape, generator):
    if name.endswith("bias"):
        return generator.normal(0, 0.1, shape) + _passed_on(name, shape)
    if _NORM.search(name):
        return generator.uniform(0.5, 1.5, shape) * (0.05 if _BRANCH_END.search(name) else 1)
    filters = _filters(shape, generator, _gain(name, _LIVELY_GAINS, _LIVELY_GAIN))
    return filters + _passed_on(name, shape)


def _passed_on(name, shape):
    """What makes lively weights pass the coarse logits through the point head, lest refined pixels differ from their
    neighbours: the last inputs of mmsegmentation's last layer; in detectron2's first hidden units, all the way,
    lifted by 4 above the ReLUs."""
    if name.endswith("point_head.fc1.bias"):
        return 4
    if name.endswith("point_head.predictor.bias"):
        return -4
    if len(shape) != 3 or not re.search(r"fc_seg|point_head\.", name):
        return 0
    first = 0
    if name.endswith(("fc_seg.weight", "fc1.weight")):
        first = 256  # they follow the fine features, or the hidden ones: both are 256
    return np.eye(shape[0], shape[1], first)[:, :, None]


def _calm_entry(name, shape, generator):
    if _NORM.search(name):
        return _calm_norm(name, shape, generator)
    if _HIDDEN_BIAS.search(name):
        return generator.uniform(0.4, 0.8, shape) * np.where(generator.uniform(size=shape) < 0.15, -1, 1)
    if name.endswith("bias"):
        return generator.normal(0, 0.05, shape)
    return _filters(shape, generator, _gain(name, _CALM_GAINS, _CALM_GAIN))


def _gain(name, gains, otherwise):
    return next((gain for pattern, gain in gains if pattern.search(name)), otherwise)


def _filters(shape, generator, gain):
    values = generator.normal(0, np.sqrt(gain / np.prod(shape[1:])), shape)
    return values - values.mean(axis=tuple(range(1, len(shape))), keepdims=True)


def _calm_norm(name, shape, generator):
    """Scale or shift of a norm."""
    is_scale = name.endswith("weight")
    if _BRANCH_END.search(name):
        return generator.uniform(0.01, 0.03, shape) if is_scale else generator.uniform(0, 0.04, shape)
    if _HEAD.search(name):
        return generator.uniform(0.08, 0.12, shape) if is_scale else generator.uniform(0.25, 0.4, shape)
    size, share_off = (0.2, 0.05) if _SHORTCUT.search(name) else (1, 0.15)
    if is_scale:
        return size * generator.uniform(0.8, 1.2, shape)
    return size * generator.uniform(2.5, 4.5, shape) * np.where(generator.uniform(size=shape) < share_off, -1, 1)
