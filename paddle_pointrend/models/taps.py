"""Reads coarse logits and fine features out of a segmentation model that was not written for PointRend.

The model runs once, as it is; temporary forward hooks take the outputs of some of its sublayers on the way. Which
sublayers, is measured once on a random image: the coarse logits are the smallest map that, upsampled bilinearly, is the
model's own output; the fine features are the encoder's last map before its stride exceeds 4 (the paper's res2, section
4.2).
"""

import contextlib
from collections.abc import Sequence

import paddle
from paddle import nn

from paddle_pointrend.models.layer_maps import checked_path, describe, list_maps, map_stride, measure_layers, split_path
from paddle_pointrend.models.tap_search import find_coarse, find_fine


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

    def __init__(self, model: nn.Layer, coarse: str | None = None, fine: str | Sequence[str] | None = None) -> None:
        layers = measure_layers(model)
        self.in_channels = layers.in_channels
        self.num_classes = layers.output.shape[1]
        self.coarse = find_coarse(layers) if coarse is None else checked_path(coarse, "coarse", layers)
        logits = layers.output if self.coarse is None else layers.maps[self.coarse]
        self.coarse_stride = map_stride(logits)
        if logits.shape[1] != self.num_classes:
            raise ValueError(
                f"taps.coarse: {self.coarse!r} has {logits.shape[1]} channels, but {layers.model_name} predicts "
                f"{self.num_classes} classes; {list_maps(layers, 'coarse')}"
            )
        if fine is None:
            fine = [find_fine(layers, self.coarse, self.coarse_stride)]
        self.fine = [checked_path(path, "fine", layers) for path in ([fine] if isinstance(fine, str) else fine)]
        self.fine_channels = [layers.maps[path].shape[1] for path in self.fine]
        self.fine_strides = [map_stride(layers.maps[path]) for path in self.fine]
        if not self.fine or self.fine_strides != sorted(self.fine_strides):
            raise ValueError(
                f"taps.fine: {self.fine} has strides {self.fine_strides}, expected one map or more, fine -> coarse; "
                f"{list_maps(layers, 'fine')}"
            )

    def read(self, model: nn.Layer, images: paddle.Tensor) -> tuple[list, paddle.Tensor, list[paddle.Tensor]]:
        """Runs the model once and reads the tapped outputs on the way.

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
        with _collect_outputs(model, paths) as collected:
            outputs = model(images)
        _check_calls(collected, model)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        coarse_logits = outputs[0] if self.coarse is None else collected[self.coarse][0]
        if not hasattr(coarse_logits, "shape"):
            raise ValueError(
                f"{type(model).__name__} returns {describe(outputs)} in training, expected logits [N, K, H, W] first; "
                "set freeze_segmentor: true"
            )
        fine_features = [collected[path][0] for path in self.fine]
        if not paddle.in_dynamic_mode():
            coarse_logits = _with_channels(coarse_logits, self.num_classes)
            fine_features = [_with_channels(*pair) for pair in zip(fine_features, self.fine_channels)]
        return outputs, coarse_logits, fine_features


@contextlib.contextmanager
def _collect_outputs(model, paths):
    """Yields a dict of path -> outputs, filled by the forward passes inside; nothing stays in the model."""
    sublayers, collected, handles = dict(model.named_sublayers()), {path: [] for path in paths}, []
    for path in collected:
        name, index = split_path(path)

        def keep(layer, inputs, output, path=path, index=index):
            collected[path].append(output if index is None else output[index])

        handles.append(sublayers[name].register_forward_post_hook(keep))
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()


def _with_channels(tensor, channels):
    """Tells a traced graph how many channels a map has, which it may not know of a reshaped one."""
    shape = paddle.shape(tensor)
    return tensor.reshape([shape[0], channels, shape[2], shape[3]])


def _check_calls(collected, model):
    for path, outputs in collected.items():
        if len(outputs) != 1:
            raise ValueError(
                f"taps: {type(model).__name__} called {path!r} {len(outputs)} times in "
                f"{'training' if model.training else 'evaluation'}, expected once as in evaluation of a random image; "
                "name another sublayer in taps"
            )
