"""Reads coarse logits and fine features out of a segmentation model that was not written for PointRend.

The model runs once, as it is; temporary forward hooks take the outputs of some of its sublayers on the way. Which
sublayers, is measured once on a random image: the coarse logits are the smallest map that, upsampled bilinearly, is the
model's own output; the fine features are the encoder's last map before its stride exceeds 4 (the paper's res2, section
4.2).
"""

import contextlib
import re

import numpy as np
import paddle
import paddle.nn.functional as F

IMAGE_SIZE = (128, 192)  # of the random image
FINE_STRIDE = 4


class Taps:
    """The places in a model where its coarse logits and fine features come out.

    Args:
        model: takes images [N, C, H, W]; returns logits [N, K, H, W], or a list or tuple whose first is that.
        coarse: the path of the sublayer whose output is the coarse logits; None to find it.
        fine: paths of the sublayers whose outputs are the fine features, fine -> coarse; None to find one.
            A path is a name in `model.named_sublayers()`; with an index, as in "backbone[0]", one of a list of outputs.

    Attributes:
        coarse: the path, or None where no sublayer's output, upsampled with pixel centres at (i + 0.5) / size, is the
            model's: its output itself is read then, at the image's size.
        fine: a list of paths.
        num_classes, in_channels: as measured.
        coarse_stride: of the coarse logits.
        fine_channels, fine_strides: of the fine features, one entry a map.

    Raises:
        ValueError: paths that do not exist or whose outputs do not fit; the message lists the maps there are.
    """

    def __init__(self, model, coarse=None, fine=None):
        self.in_channels = _image_channels(model)
        image = paddle.to_tensor(_noise([1, self.in_channels, *IMAGE_SIZE]))
        maps, output = _record(model, image)
        self.num_classes = output.shape[1]
        self.coarse = _find_coarse(maps, output) if coarse is None else _checked(coarse, "coarse", maps)
        logits = output if self.coarse is None else maps[self.coarse]
        self.coarse_stride = _stride(logits)
        if logits.shape[1] != self.num_classes:
            raise ValueError(
                f"taps.coarse {self.coarse!r} has {logits.shape[1]} channels, the model predicts {self.num_classes} "
                f"classes; {_list_maps(maps)}"
            )
        found = [_find_fine(maps, self.coarse, self.coarse_stride)] if fine is None else fine
        self.fine = [_checked(path, "fine", maps) for path in found]
        self.fine_channels = [maps[path].shape[1] for path in self.fine]
        self.fine_strides = [_stride(maps[path]) for path in self.fine]

    def read(self, model, images):
        """One forward pass.

        Args:
            model: the model that was measured.
            images: [N, C, H, W].

        Returns:
            outputs: what the model returns, as a list.
            coarse_logits: [N, K, h, w].
            fine_features: a list of [N, C_i, H_i, W_i].
        """
        paths = [path for path in (self.coarse, *self.fine) if path is not None]
        with _listen(model, paths) as heard:
            outputs = model(images)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        coarse_logits = outputs[0] if self.coarse is None else heard[self.coarse]
        return outputs, coarse_logits, [heard[path] for path in self.fine]


@contextlib.contextmanager
def _listen(model, paths):
    """A dict of path -> output, filled by the forward passes inside; nothing stays in the model."""
    sublayers, heard, handles = dict(model.named_sublayers()), {}, []
    for path in dict.fromkeys(paths):
        name, index = _split(path)

        def keep(layer, inputs, output, path=path, index=index):
            heard[path] = output if index is None else output[index]

        handles.append(sublayers[name].register_forward_post_hook(keep))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _split(path):
    match = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", path)
    return match[1], None if match[2] is None else int(match[2])


@paddle.no_grad()
def _record(model, image):
    """({path: map [N, C, h, w]} of the last call of every sublayer in the order of the calls, the model's output)"""
    maps, handles = {}, []

    def remember(path, tensor):
        if isinstance(tensor, paddle.Tensor) and tensor.ndim == 4:
            maps.pop(path, None)
            maps[path] = tensor

    for name, sublayer in model.named_sublayers():

        def keep(layer, inputs, output, name=name):
            remember(name, output)
            if isinstance(output, (list, tuple)):
                for i, tensor in enumerate(output):
                    remember(f"{name}[{i}]", tensor)

        handles.append(sublayer.register_forward_post_hook(keep))
    was_training = model.training
    model.eval()
    try:
        outputs = model(image)
    finally:
        for handle in handles:
            handle.remove()
        if was_training:
            model.train()
    return maps, outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def _find_coarse(maps, output):
    """The path of the smallest map that is the output before its upsampling; None if there is none."""
    tolerance = 1e-5 * float(output.abs().max())
    matches = []
    for path, tensor in maps.items():
        if tensor.shape[:2] == output.shape[:2] and _stride(tensor) is not None:
            upsampled = F.interpolate(tensor, size=output.shape[2:], mode="bilinear", align_corners=False)
            if float((upsampled - output).abs().max()) <= tolerance:
                matches.append((-_stride(tensor), len(path), path))
    return min(matches)[2] if matches else None


def _find_fine(maps, coarse, coarse_stride):
    """The path of the fine features: of the backbone's outputs, or else of the encoder's last map of their stride.

    Their stride is the largest one up to FINE_STRIDE that is not above the coarse map's. The encoder's last map is the
    one before the network first goes below its resolution; the coarse logits and what comes after do not count.
    """
    strides = {}
    for path, tensor in maps.items():
        if tensor is maps.get(coarse):
            break
        if _stride(tensor) is not None:
            strides[path] = _stride(tensor)
    limits = (FINE_STRIDE,) if coarse is None else (min(FINE_STRIDE, coarse_stride), FINE_STRIDE)
    below = [max(within) for limit in limits if (within := [s for s in strides.values() if s <= limit])]
    wanted = below[0] if below else min(strides.values())
    for path, stride in strides.items():
        if stride == wanted and _split(path)[0] == "backbone":
            return path
    last = None
    for path, stride in strides.items():
        if stride > wanted and last is not None:
            break
        if stride == wanted:
            last = maps[path]
    return min((path for path in strides if maps[path] is last), key=lambda path: (len(path), path))


def _checked(path, what, maps):
    if path not in maps:
        raise ValueError(f"taps.{what}: there is no sublayer {path!r} with a map as output; {_list_maps(maps)}")
    if _stride(maps[path]) is None:
        raise ValueError(f"taps.{what}: {path!r} is a map of {maps[path].shape[2:]}; {_list_maps(maps)}")
    return path


def _list_maps(maps):
    """The outermost sublayers and the maps they yield, for messages."""
    lines = [
        f"{path} ({tensor.shape[1]} channels, stride {_stride(tensor)})"
        for path, tensor in maps.items()
        if path.count(".") <= 1 and _stride(tensor) is not None
    ]
    return "write one of " + ", ".join(lines)


def _stride(tensor):
    """Of a map of the random image; None if height and width were not divided by the same whole number."""
    height, width = tensor.shape[2:]
    if not height or not width or IMAGE_SIZE[0] % height or IMAGE_SIZE[0] * width != IMAGE_SIZE[1] * height:
        return None
    return IMAGE_SIZE[0] // height


def _noise(shape):
    """Reproducible, and without a draw from Paddle's generator: building a model must not change what comes after."""
    return np.random.RandomState(0).standard_normal(shape).astype("float32")


def _image_channels(model):
    """What its first convolution takes."""
    return next(weight for weight in model.parameters() if weight.ndim == 4).shape[1]
