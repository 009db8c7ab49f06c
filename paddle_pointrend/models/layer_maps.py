"""What maps the sublayers of a segmentation model yield: measured once on a random image, and listed in messages.

A path is a name in `model.named_sublayers()`; with an index, as in "backbone[0]", one of a list of outputs.
"""

import collections
import dataclasses
import re

import numpy as np
import paddle
from paddle import nn

from paddle_pointrend.models.backbones import image_channels

IMAGE_SIZE = (128, 192)  # of the random image
FINE_STRIDE = 4
ENOUGH_MAPS, MOST_MAPS = 4, 15  # in a message


@dataclasses.dataclass(frozen=True)
class LayerMaps:
    """What a model's sublayers yielded for the random image.

    maps: {path: map [N, C, h, w]} in the order of the calls, of the sublayers that were called once. Of a sublayer
        that works on several maps, or on an image at several scales, no call is the right one.
    calls: {name: how many times the sublayer was called}.
    output: the model's first output.
    """

    model_name: str
    in_channels: int
    maps: dict[str, paddle.Tensor]
    calls: dict[str, int]
    output: paddle.Tensor


def measure_layers(model: nn.Layer) -> LayerMaps:
    """Runs a model on the random image; its modes, its statistics and Paddle's random state stay as they are.

    Raises:
        ValueError: a model that does not run or returns no logits, or without a map that could be read.
    """
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
    if not isinstance(output, paddle.Tensor) or output.ndim != 4 or not map_stride(output):
        raise ValueError(
            f"{name} returns {describe(outputs)} for images of {[1, in_channels, *IMAGE_SIZE]}, expected logits "
            "[N, K, H, W], or a list whose first is that; PointRendSeg sharpens segmentation models only"
        )
    if not any(map_stride(tensor) for tensor in maps.values()):
        raise ValueError(
            f"{name} has no sublayer that is called once and yields a map [N, C, H, W] of a whole stride; "
            "give it forward_features, as SemanticFPN has"
        )
    maps = {path: tensor for path, tensor in maps.items() if map_stride(tensor)}
    return LayerMaps(name, in_channels, maps, calls, output)


def _run_any(model):
    """Calls _run on images of 3 channels, or else of as many as the first convolution takes."""
    for in_channels in dict.fromkeys([3, image_channels(model)]):
        try:
            return in_channels, *_run(model, in_channels)
        except Exception as error:  # a third-party model may raise anything
            failure = error
    raise ValueError(
        f"{type(model).__name__} does not run on images of {[1, in_channels, *IMAGE_SIZE]}, so its maps cannot be "
        f"measured: {type(failure).__name__}: {failure}"
    ) from failure


@paddle.no_grad()
def _run(model, in_channels):
    """Returns ({path: map}, {name: number of calls}, the model's outputs)."""
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
    return {path: tensor for path, tensor in maps.items() if calls[split_path(path)[0]] == 1}, calls, outputs


def _noise(shape):
    """Draws reproducibly, not from Paddle's generator: building a model must not change what comes after."""
    return np.random.RandomState(0).standard_normal(shape).astype("float32")


def split_path(path: str) -> tuple[str, int | None]:
    """Splits "backbone[0]" into the sublayer's name and the index of one of its outputs, None where there is none."""
    match = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", path)
    assert match is not None, path  # the pattern takes any text
    return match[1], None if match[2] is None else int(match[2])


def map_stride(tensor: paddle.Tensor) -> int:
    """Returns a map's stride; 0 if the image's height and width were not divided by the same whole number."""
    height, width = tensor.shape[2:]
    if not height or not width or IMAGE_SIZE[0] % height or IMAGE_SIZE[0] * width != IMAGE_SIZE[1] * height:
        return 0
    return IMAGE_SIZE[0] // height


def checked_path(path: str, what: str, layers: LayerMaps) -> str:
    """Returns a user's path; ValueError if it is none of a map, with the maps there are."""
    if path in layers.maps:
        return path
    name = split_path(path)[0] if isinstance(path, str) else path
    if name not in layers.calls:
        reason = f"there is no sublayer {name!r} that {layers.model_name} calls"
    elif layers.calls[name] > 1:
        reason = f"{name!r} is called {layers.calls[name]} times, and none of its outputs is the one to take"
    else:
        reason = f"{path!r} is no map [N, C, H, W] of a whole stride"
    raise ValueError(f"taps.{what}: {reason}; {list_maps(layers, what)}")


def list_maps(layers: LayerMaps, what: str) -> str:
    """Lists for a message what taps may name: the outermost sublayers' maps; for coarse logits, those of K channels."""
    maps, seen = {}, set()
    for path in sorted(layers.maps, key=lambda path: (path.count("."), split_path(path)[1] is None)):
        tensor = layers.maps[path]
        if id(tensor) not in seen and (what == "fine" or tensor.shape[1] == layers.output.shape[1]):
            seen.add(id(tensor))
            maps[path] = tensor
    if not maps:
        return f"no sublayer of {layers.model_name} yields maps of the classes; leave {what} out"
    depths = [path.count(".") for path in maps]
    deepest = next((depth for depth in depths if sum(d <= depth for d in depths) >= ENOUGH_MAPS), depths[-1])
    outermost = [path for path in maps if path.count(".") <= deepest][:MOST_MAPS]
    shown = [path for path in layers.maps if path in outermost]
    fine = next((path for path in shown if map_stride(maps[path]) <= FINE_STRIDE), shown[0])
    lines = [f"{path} ({maps[path].shape[1]} channels, stride {map_stride(maps[path])})" for path in shown]
    more = ", and others further inside" if len(shown) < len(maps) else ""
    of_classes = " of as many channels as classes" if what == "coarse" else ""
    example = f'"{shown[-1]}"' if what == "coarse" else f'["{fine}"]'
    return (
        f"the maps of {layers.model_name}{of_classes} are {', '.join(lines)}{more}; "
        f"write for example taps: {{{what}: {example}}}"
    )


def describe(outputs: object) -> str:
    """Says in a message what a model returned."""
    if isinstance(outputs, paddle.Tensor):
        return f"a tensor of {list(outputs.shape)}"
    if isinstance(outputs, (list, tuple)):
        return f"a {type(outputs).__name__} of {', '.join(map(describe, outputs)) or 'nothing'}"
    return f"a {type(outputs).__name__}"
