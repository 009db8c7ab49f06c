"""What the comparison with the torch references and the stored goldens share; nothing here needs torch.

Random weights and inputs come from NumPy's RandomState, whose streams do not change between versions, seeded by the
entry's name: what a key gets does not depend on which other keys there are.
"""

import re
import zlib
from unittest import mock

import numpy as np
import paddle

from paddle_pointrend import point_sample
from paddle_pointrend.models import pointrend

IGNORED = 255
TOLERANCE = 2e-5  # of the standard deviation of the reference's map

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


def random_state(shapes, seed, *, calm=False, predictor_std=None):
    """Random values for every entry of a reference's checkpoint, in one of two manners.

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
    state = {name: _random_entry(name, tuple(shape), _generator(seed, name), entry) for name, shape in shapes.items()}
    if predictor_std is not None:
        for name in filter(_PREDICTOR.search, state):
            state[name] *= np.float32(predictor_std / state[name].std())
    return state


def _generator(seed, name):
    return np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()))


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
    """What makes lively weights pass the coarse logits through the point head, lest refined pixels be strangers to
    their neighbours: the last inputs of mmsegmentation's last layer; in detectron2's first hidden units, all the way,
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


def smooth_image(shape, seed):
    """Images with structure: a smooth background, flat areas with sharp edges, a little noise.

    Args:
        shape: (N, H, W).
        seed: an integer.

    Returns:
        float32 [N, 3, H, W], about mean 0 and deviation 1.
    """
    count, height, width = shape
    generator = _generator(seed, "image")
    background = _upsampled(generator.normal(size=(count, 3, 5, 7)), (height, width))
    areas = _areas(generator, count, 12, (height, width))
    colours = generator.normal(size=(count, 3, 12))
    flat = np.stack([colour[:, area] for colour, area in zip(colours, areas)])
    noise = generator.normal(size=(count, 3, height, width))
    return (0.7 * background + 0.7 * flat + 0.1 * noise).astype("float32")


def smooth_labels(shape, num_classes, seed):
    """Labels int64 [N, H, W] in large areas; about every tenth area is ignored."""
    count, height, width = shape
    generator = _generator(seed, "labels")
    areas = _areas(generator, count, 30, (height, width))
    classes = generator.randint(0, num_classes, size=(count, 30))
    classes[:, ::10] = IGNORED
    return np.stack([of_area[area] for of_area, area in zip(classes, areas)]).astype("int64")


def random_coords(count, num_points, seed):
    """Points to train on, float32 [count, num_points, 2] in [0, 1)."""
    return _generator(seed, "coords").uniform(size=(count, num_points, 2)).astype("float32")


def _areas(generator, count, num_areas, size):
    """int [count, *size]: to which of random centres each pixel is nearest."""
    ys, xs = ((np.arange(n) + 0.5) / n for n in size)
    centres = generator.uniform(size=(count, num_areas, 2))
    distances = (ys[:, None, None] - centres[:, None, None, :, 1]) ** 2
    distances = distances + (xs[:, None] - centres[:, None, None, :, 0]) ** 2
    return distances.argmin(axis=-1)


def _upsampled(maps, size):
    """[N, C, h, w] enlarged bilinearly, corners on corners."""
    for axis, length in zip((2, 3), size):
        places = np.linspace(0, maps.shape[axis] - 1, length)
        low = np.minimum(places.astype(int), maps.shape[axis] - 2)
        part = (places - low).reshape([-1] + [1] * (3 - axis))
        maps = np.take(maps, low, axis) * (1 - part) + np.take(maps, low + 1, axis) * part
    return maps


def build(config):
    """PaddleSeg's builder of one of our YAML files, its model without pretrained weights."""
    from paddleseg.cvlibs import Config, SegBuilder

    config = Config(str(config))
    config.dic["model"]["segmentor"]["backbone"].pop("pretrained", None)
    return SegBuilder(config)


def load_reference_state(model, state, source):
    """Gives a model the weights of a reference, through the converter that users have."""
    from paddle_pointrend.convert import convert_state

    model.set_state_dict(convert_state(state, source, model))


@paddle.no_grad()
def paddle_stages(model, images):
    """Every stage of our model's forward pass in evaluation.

    The final logits come from calling the model; the stages before them from its parts.

    Args:
        model: a PointRendSeg on a SemanticFPN.
        images: float32 [N, 3, H, W], normalised.

    Returns:
        Stage name -> array: res2 to res5, p2 to p5, coarse, and for each step i of the refinement stepi.indices,
        .coords, .fine, .coarse, .logits, .refined; logits, argmax.
    """
    model.eval()
    segmentor = model.segmentor
    maps = segmentor.backbone(paddle.to_tensor(_padded(images, model.size_divisor)))
    pyramid = segmentor.fpn(maps)
    coarse = segmentor.head(pyramid)
    stages = {f"res{i + 2}": m for i, m in enumerate(maps)} | {f"p{i + 2}": m for i, m in enumerate(pyramid)}
    stages["coarse"] = coarse
    steps = []
    model.subdivision(coarse, pyramid[:1]).run(coarse, model.num_subdivision_points, steps)
    for i, step in enumerate(steps):
        stage = {"indices": step.indices, "coords": step.coords, "logits": step.point_logits, "refined": step.logits}
        stage |= {"fine": point_sample(pyramid[0], step.coords), "coarse": point_sample(coarse, step.coords)}
        stages |= {f"step{i + 1}.{name}": value for name, value in stage.items()}
    stages = {name: value.numpy() for name, value in stages.items()}
    stages["logits"] = model(paddle.to_tensor(images))[0].numpy()
    stages["argmax"] = stages["logits"].argmax(axis=1)
    return stages


def _padded(images, divisor):
    height, width = images.shape[2:]
    return np.pad(images, [(0, 0), (0, 0), (0, -height % divisor), (0, -width % divisor)])


def paddle_losses(model, losses, images, labels, point_coords):
    """(coarse loss, point loss) of one training step at given points, Paddle scalars with a graph.

    Args:
        model: a PointRendSeg.
        losses: the two loss layers of its config.
        images: float32 [N, 3, H, W], normalised.
        labels: int64 [N, H, W].
        point_coords: float32 [N, P, 2].
    """
    coords, labels = paddle.to_tensor(point_coords), paddle.to_tensor(labels)
    model.train()
    with mock.patch.object(pointrend, "sample_training_points", return_value=coords):
        outputs = model(paddle.to_tensor(images))
    return [loss(output, labels) for loss, output in zip(losses, outputs)]


def paddle_train_step(model, losses, images, labels, point_coords):
    """((coarse loss, point loss), parameter's name -> gradient); the model's gradients are cleared."""
    coarse, point = paddle_losses(model, losses, images, labels, point_coords)
    (coarse + point).backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if not p.stop_gradient}
    model.clear_gradients()
    return (float(coarse), float(point)), gradients


def map_errors(ours, theirs):
    """How far a map is from the reference's, in units of the reference's standard deviation."""
    difference, scale = np.abs(ours - theirs), float(theirs.std())
    if difference.ndim == 4:  # a pixel counts as its worst channel
        difference = difference.max(axis=1)
    return {
        "shape": list(theirs.shape),
        "max_error": float(difference.max()),
        "max_relative": float(difference.max()) / scale,
        "relative_l2": relative_l2(ours, theirs),
        "share_within": float((difference <= TOLERANCE * scale).mean()),
    }


def relative_l2(ours, theirs):
    norm = np.linalg.norm(theirs.astype("float64"))
    return float(np.linalg.norm(ours.astype("float64") - theirs) / norm) if norm else float(np.abs(ours).max())


def cosine(ours, theirs):
    ours, theirs = ours.astype("float64").ravel(), theirs.astype("float64").ravel()
    return float(ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)))


def share_of_common(ours, theirs):
    """Which share of the reference's indices [N, P] ours has too, in whatever order."""
    return float(np.mean([np.isin(b, a).mean() for a, b in zip(ours, theirs)]))


def aligned_points(ours, theirs, step, name):
    """Values at points that both sides chose, in the same order: two arrays [C, number of common points].

    Args:
        ours, theirs: stages.
        step: "step1", ...
        name: "coords", "fine", "coarse" or "logits".
    """
    pairs = []
    for i, (a, b) in enumerate(zip(ours[f"{step}.indices"], theirs[f"{step}.indices"])):
        _, in_ours, in_theirs = np.intersect1d(a, b, return_indices=True)
        rows = ours[f"{step}.{name}"][i], theirs[f"{step}.{name}"][i]
        if name == "coords":
            rows = rows[0].T, rows[1].T
        pairs.append((rows[0][:, in_ours], rows[1][:, in_theirs]))
    return tuple(np.concatenate(side, axis=1) for side in zip(*pairs))


def places(name, size, count):
    """Where a golden keeps entries of an array: `count` indices into the flattened array, the same for each name."""
    return _generator(size, name).randint(0, size, count)
