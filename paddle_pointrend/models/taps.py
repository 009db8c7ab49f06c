"""Reads coarse logits and fine features out of a segmentation model that was not written for PointRend.

The model runs once, as it is; temporary forward hooks take the outputs of some of its sublayers on the way. Which
sublayers, is measured once on a random image: the coarse logits are the smallest map that, upsampled bilinearly, is the
model's own output; the fine features are the encoder's last map before its stride exceeds 4 (the paper's res2, section
4.2).
"""

import collections
import contextlib
import dataclasses
import re

import numpy as np
import paddle
import paddle.nn.functional as F

from paddle_pointrend.models.backbones import image_channels

IMAGE_SIZE = (128, 192)  # of the random image
FINE_STRIDE = 4
ENOUGH_MAPS, MOST_MAPS = 4, 15  # in a message


class Taps:
    """The places in a model where its coarse logits and fine features come out.

    Args:
        model: takes images [N, C, H, W]; returns logits [N, K, H, W], or a list or tuple whose first is that.
        coarse: the path of the sublayer whose output is the coarse logits; None to find it.
        fine: the path of the sublayer whose output is the fine features, or a list of paths, fine -> coarse; None to
            find one. A path is a name in `model.named_sublayers()`; with an index, as in "backbone[0]", one of a list
            of outputs.

    Attributes:
        coarse: the path, or None where no sublayer's output, upsampled with pixel centres at (i + 0.5) / size, is the
            model's: its output itself is read then, at the image's size.
        fine: a list of paths.
        num_classes, in_channels: as measured.
        coarse_stride: of the coarse logits.
        fine_channels, fine_strides: of the fine features, one entry a map.

    Raises:
        ValueError: a model that does not run or returns no logits; paths that do not exist or whose outputs do not
            fit, where the message lists the maps there are.
    """

    def __init__(self, model, coarse=None, fine=None):
        record = _measure(model)
        self.in_channels = record.in_channels
        self.num_classes = record.output.shape[1]
        self.coarse = _find_coarse(record) if coarse is None else _checked(coarse, "coarse", record)
        logits = record.output if self.coarse is None else record.maps[self.coarse]
        self.coarse_stride = _stride(logits)
        if logits.shape[1] != self.num_classes:
            raise ValueError(
                f"taps.coarse: {self.coarse!r} has {logits.shape[1]} channels, but {record.name} predicts "
                f"{self.num_classes} classes; {_list_maps(record, 'coarse')}"
            )
        if fine is None:
            fine = [_find_fine(record, self.coarse, self.coarse_stride)]
        self.fine = [_checked(path, "fine", record) for path in ([fine] if isinstance(fine, str) else fine)]
        self.fine_channels = [record.maps[path].shape[1] for path in self.fine]
        self.fine_strides = [_stride(record.maps[path]) for path in self.fine]
        if not self.fine or self.fine_strides != sorted(self.fine_strides):
            raise ValueError(
                f"taps.fine: {self.fine} has strides {self.fine_strides}, expected one map or more, fine -> coarse; "
                f"{_list_maps(record, 'fine')}"
            )

    def read(self, model, images):
        """One forward pass.

        Args:
            model: the model that was measured.
            images: [N, C, H, W].

        Returns:
            outputs: what the model returns, as a list.
            coarse_logits: [N, K, h, w].
            fine_features: a list of [N, C_i, H_i, W_i].

        Raises:
            ValueError: the model did not call a tapped sublayer just once, as it did when it was measured.
        """
        paths = [path for path in (self.coarse, *self.fine) if path is not None]
        with _listen(model, paths) as heard:
            outputs = model(images)
        _check_calls(heard, model)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        coarse_logits = outputs[0] if self.coarse is None else heard[self.coarse][0]
        if not hasattr(coarse_logits, "shape"):
            raise ValueError(
                f"{type(model).__name__} returns {_describe(outputs)} in training, expected logits [N, K, H, W] first; "
                "set freeze_segmentor: true"
            )
        fine_features = [heard[path][0] for path in self.fine]
        if not paddle.in_dynamic_mode():
            coarse_logits = _with_channels(coarse_logits, self.num_classes)
            fine_features = [_with_channels(*pair) for pair in zip(fine_features, self.fine_channels)]
        return outputs, coarse_logits, fine_features


@dataclasses.dataclass(frozen=True)
class _Record:
    """What a model did with the random image.

    maps: {path: map [N, C, h, w]} in the order of the calls, of the sublayers that were called once. Of a sublayer
        that works on several maps, or on an image at several scales, no call is the right one.
    calls: {name: how many times the sublayer was called}.
    output: the model's first output.
    """

    name: str
    in_channels: int
    maps: dict
    calls: dict
    output: paddle.Tensor


@contextlib.contextmanager
def _listen(model, paths):
    """A dict of path -> outputs, filled by the forward passes inside; nothing stays in the model."""
    sublayers, heard, handles = dict(model.named_sublayers()), {path: [] for path in paths}, []
    for path in heard:
        name, index = _split(path)

        def keep(layer, inputs, output, path=path, index=index):
            heard[path].append(output if index is None else output[index])

        handles.append(sublayers[name].register_forward_post_hook(keep))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _with_channels(tensor, channels):
    """In a traced graph, which may not know how many channels a reshaped map has: the map with this number."""
    shape = paddle.shape(tensor)
    return tensor.reshape([shape[0], channels, shape[2], shape[3]])


def _check_calls(heard, model):
    for path, outputs in heard.items():
        if len(outputs) != 1:
            raise ValueError(
                f"taps: {type(model).__name__} called {path!r} {len(outputs)} times in "
                f"{'training' if model.training else 'evaluation'}, expected once as in evaluation of a random image; "
                "name another sublayer in taps"
            )


def _split(path):
    match = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", path)
    return match[1], None if match[2] is None else int(match[2])


def _measure(model):
    """The _Record of a model; its modes, its statistics and Paddle's random state stay as they are."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    random_state = paddle.get_rng_state()  # some models draw in evaluation too
    model.eval()
    try:
        in_channels, maps, calls, outputs = _run_any(model)
    finally:
        for layer, training in modes:
            layer.training = training
        paddle.set_rng_state(random_state)
    output = outputs[0] if isinstance(outputs, (list, tuple)) and outputs else outputs
    name = type(model).__name__
    if not isinstance(output, paddle.Tensor) or output.ndim != 4 or _stride(output) is None:
        raise ValueError(
            f"{name} returns {_describe(outputs)} for images of {[1, in_channels, *IMAGE_SIZE]}, expected logits "
            "[N, K, H, W], or a list whose first is that; PointRendSeg sharpens segmentation models only"
        )
    if not any(_stride(tensor) for tensor in maps.values()):
        raise ValueError(
            f"{name} has no sublayer that is called once and yields a map [N, C, H, W] of a whole stride; "
            "give it forward_features, as SemanticFPN has"
        )
    maps = {path: tensor for path, tensor in maps.items() if _stride(tensor)}
    return _Record(name, in_channels, maps, calls, output)


def _run_any(model):
    """_run on images of 3 channels, or else of as many as the first convolution takes."""
    for in_channels in dict.fromkeys([3, image_channels(model)]):
        try:
            return in_channels, *_run(model, in_channels)
        except Exception as error:  # whatever a model of others raises
            failure = error
    raise ValueError(
        f"{type(model).__name__} does not run on images of {[1, in_channels, *IMAGE_SIZE]}, so its maps cannot be "
        f"measured: {type(failure).__name__}: {failure}"
    ) from failure


@paddle.no_grad()
def _run(model, in_channels):
    """({path: map}, {name: number of calls}, the model's outputs)"""
    maps, calls, handles = {}, collections.Counter(), []
    for name, sublayer in model.named_sublayers():

        def keep(layer, inputs, output, name=name):
            calls[name] += 1
            parts = enumerate(output) if isinstance(output, (list, tuple)) else ()
            for path, part in ((name, output), *((f"{name}[{i}]", part) for i, part in parts)):
                if isinstance(part, paddle.Tensor) and part.ndim == 4:
                    maps[path] = part

        handles.append(sublayer.register_forward_post_hook(keep))
    dtype = next((weight.dtype for weight in model.parameters()), "float32")
    try:
        outputs = model(paddle.to_tensor(_noise([1, in_channels, *IMAGE_SIZE])).astype(dtype))
    finally:
        for handle in handles:
            handle.remove()
    return {path: tensor for path, tensor in maps.items() if calls[_split(path)[0]] == 1}, calls, outputs


def _find_coarse(record):
    """The path of the smallest map that is the output before its upsampling; None if there is none."""
    output = record.output
    tolerance = 1e-5 * float(output.abs().max())
    matches = []
    for path, tensor in record.maps.items():
        if tensor.shape[:2] == output.shape[:2]:
            upsampled = F.interpolate(tensor, size=output.shape[2:], mode="bilinear", align_corners=False)
            if float((upsampled - output).abs().max()) <= tolerance:
                matches.append((-_stride(tensor), len(path), path))
    if not matches:
        return None
    found = min(matches)[2]
    # A head whose weights are still zero says nothing about which of several maps the output comes from.
    says_nothing = float((output - output.mean([2, 3], keepdim=True)).abs().max()) <= 10 * tolerance
    if says_nothing and any(not f"{path}.".startswith(f"{found}.") for _, _, path in matches):
        raise ValueError(
            f"taps.coarse: {record.name} predicts the same everywhere, so the map behind its output cannot be told "
            f"from others; {_list_maps(record, 'coarse')}"
        )
    return found


def _find_fine(record, coarse, coarse_stride):
    """The path of the fine features: of the backbone's outputs, or else the encoder's last map of their stride.

    Their stride is the largest one up to FINE_STRIDE that is not above the coarse map's, where the encoder has one.
    The encoder is what runs before the smallest map there is; its last map of a stride is the last one before the
    network first goes below that resolution, and before the block that does. The coarse logits and what comes after
    do not count.
    """
    strides = {}
    for path, tensor in record.maps.items():
        if tensor is record.maps.get(coarse):
            break
        strides[path] = _stride(tensor)
    if not strides:
        raise ValueError(f"taps.fine: no map comes before {coarse!r}; {_list_maps(record, 'fine')}")
    encoder = list(strides)[: list(strides.values()).index(max(strides.values()))] or list(strides)
    limits = (FINE_STRIDE,) if coarse is None else (min(FINE_STRIDE, coarse_stride), FINE_STRIDE)
    below = [max(within) for limit in limits if (within := [s for p in encoder if (s := strides[p]) <= limit])]
    wanted = below[0] if below else min(strides.values())
    for path, stride in strides.items():
        if stride == wanted and _split(path)[0].split(".")[-1] == "backbone":
            return path
    run = []
    for path, stride in strides.items():
        if stride > wanted and run:
            break
        if stride == wanted:
            run.append(path)
    last = ([path for path in run if not _in_step_down(path, strides)] or run)[-1]
    same = [path for path in strides if record.maps[path] is record.maps[last]]
    return min(same, key=lambda path: (len(path), path))


def _in_step_down(path, strides):
    """Whether a sublayer around this one goes from its stride to the next one and no further, as ResNet's stages do."""
    parts = _split(path)[0].split(".")
    for i in range(1, len(parts)):
        around = ".".join(parts[:i])
        inside = {strides[p] for p in strides if _split(p)[0] == around or p.startswith(around + ".")}
        if len(inside) == 2 and min(inside) == strides[path]:
            return True
    return False


def _checked(path, what, record):
    if path in record.maps:
        return path
    name = _split(path)[0] if isinstance(path, str) else path
    if name not in record.calls:
        reason = f"there is no sublayer {name!r} that {record.name} calls"
    elif record.calls[name] > 1:
        reason = f"{name!r} is called {record.calls[name]} times, and none of its outputs is the one to take"
    else:
        reason = f"{path!r} is no map [N, C, H, W] of a whole stride"
    raise ValueError(f"taps.{what}: {reason}; {_list_maps(record, what)}")


def _list_maps(record, what):
    """What there is to write, for messages: the outermost sublayers' maps; for coarse logits, those of K channels."""
    maps, seen = {}, set()
    for path in sorted(record.maps, key=lambda path: (path.count("."), _split(path)[1] is None)):
        tensor = record.maps[path]
        if id(tensor) not in seen and (what == "fine" or tensor.shape[1] == record.output.shape[1]):
            seen.add(id(tensor))
            maps[path] = tensor
    if not maps:
        return f"no sublayer of {record.name} yields maps of the classes; leave {what} out"
    depths = [path.count(".") for path in maps]
    deepest = next((depth for depth in depths if sum(d <= depth for d in depths) >= ENOUGH_MAPS), depths[-1])
    outermost = [path for path in maps if path.count(".") <= deepest][:MOST_MAPS]
    shown = [path for path in record.maps if path in outermost]
    fine = next((path for path in shown if _stride(maps[path]) <= FINE_STRIDE), shown[0])
    lines = [f"{path} ({maps[path].shape[1]} channels, stride {_stride(maps[path])})" for path in shown]
    more = ", and others further inside" if len(shown) < len(maps) else ""
    of_classes = " of as many channels as classes" if what == "coarse" else ""
    example = f'"{shown[-1]}"' if what == "coarse" else f'["{fine}"]'
    return (
        f"the maps of {record.name}{of_classes} are {', '.join(lines)}{more}; "
        f"write for example taps: {{{what}: {example}}}"
    )


def _describe(outputs):
    if isinstance(outputs, paddle.Tensor):
        return f"a tensor of {list(outputs.shape)}"
    if isinstance(outputs, (list, tuple)):
        return f"a {type(outputs).__name__} of {', '.join(map(_describe, outputs)) or 'nothing'}"
    return f"a {type(outputs).__name__}"


def _stride(tensor):
    """Of a map of the random image; None if height and width were not divided by the same whole number."""
    height, width = tensor.shape[2:]
    if not height or not width or IMAGE_SIZE[0] % height or IMAGE_SIZE[0] * width != IMAGE_SIZE[1] * height:
        return None
    return IMAGE_SIZE[0] // height


def _noise(shape):
    """Reproducible, and without a draw from Paddle's generator: building a model must not change what comes after."""
    return np.random.RandomState(0).standard_normal(shape).astype("float32")
