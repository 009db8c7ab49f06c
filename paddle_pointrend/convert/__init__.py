"""The official torch checkpoints, and ImageNet backbones, as weights of our networks.

Imports models/; torch inside a function, for .pth files only.
"""

from collections.abc import Mapping

import numpy as np
from paddle import nn

from paddle_pointrend.convert.checkpoint_files import read_tensors
from paddle_pointrend.convert.names import rename_key
from paddle_pointrend.models.resnet import FrozenBatchNorm2D
from paddle_pointrend.models.weights import CheckpointError, compare_state

__all__ = ["BACKBONE_SOURCES", "SOURCES", "ConversionError", "convert_state", "read_tensors", "rename_key"]

# Whether the strides of a ResNet stand in a block's first 1x1 convolution: no shape shows it.
SOURCES = {
    "mmseg": False,
    "detectron2": True,
    "torchvision": False,
    "resnet_v1c": False,
    "msra": True,
    "efficientnet_lite": False,
}
BACKBONE_SOURCES = ("torchvision", "resnet_v1c", "msra", "efficientnet_lite")


class ConversionError(CheckpointError):
    """A checkpoint whose tensors are not the network's; the message names them."""


def convert_state(tensors: Mapping[str, np.ndarray], source: str, model: nn.Layer) -> dict[str, np.ndarray]:
    """Brings a source's tensors under our names, exactly those of a network.

    Args:
        tensors: name -> array, as `read_tensors` returns them.
        source: "mmseg" or "detectron2", whole networks; "torchvision", "resnet_v1c" (mmsegmentation's
            `open-mmlab://resnet101_v1c`), "msra" (detectron2's `ImageNetPretrained/MSRA/R-101.pkl`) or
            "efficientnet_lite" (EfficientNet-Lite-PyTorch's), backbones.
        model: the network that will load them, a PointRendSeg, or a MaskRCNN from "detectron2"; for a backbone
            a ResNet or an EfficientNetLite.

    Returns:
        name -> array, for `model.set_state_dict`.

    Raises:
        ConversionError: tensors that are missing, unexpected or of another shape, each named; a network whose
            strides stand elsewhere than the source's.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    converted, origins, unexpected = {}, {}, []
    prefix = "" if hasattr(model, "segmentor") else "segmentor."  # which a Mask R-CNN's backbone and FPN are without
    for key, array in tensors.items():
        try:
            new = rename_key(key, source)
        except KeyError:
            unexpected.append(key)
            continue
        if new is not None:
            new = new.removeprefix(prefix)
            converted[new], origins[new] = array, key
    _transpose_fully_connected(converted, model)
    if source == "msra":
        converted |= _identity_statistics(converted)
    missing, extra, shapes = compare_state(model, converted)
    problems = [
        _named("missing", missing),
        _named("unexpected", unexpected + [origins.get(key, key) for key in extra]),
        _named("of another shape", [f"{key} {was} instead of {wanted}" for key, (was, wanted) in shapes.items()]),
    ]
    if any(problems):
        raise ConversionError(
            f"these are not the tensors of this network: {'; '.join(filter(None, problems))}; "
            "is this checkpoint of that source, depth and number of classes?"
        )
    _check_strides(model, source)
    return converted


def left_out(tensors: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Lists the names of the tensors that `convert_state` has no use for."""
    return [key for key in tensors if rename_key(key, source) is None]


def _transpose_fully_connected(converted, model):
    """torch stores [out, in], Paddle [in, out]."""
    for name, layer in model.named_sublayers():
        weight = converted.get(f"{name}.weight")
        if isinstance(layer, nn.Linear) and weight is not None and weight.ndim == 2:
            converted[f"{name}.weight"] = np.ascontiguousarray(weight.T)


def _identity_statistics(converted):
    """Makes statistics that do nothing: Caffe2's networks have theirs folded into scale and shift."""
    scales = {key: array for key, array in converted.items() if array.ndim == 1 and key.endswith(".weight")}
    statistics = {}
    for key, scale in scales.items():
        norm = key.removesuffix("weight")
        statistics[f"{norm}_mean"] = np.zeros_like(scale)
        statistics[f"{norm}_variance"] = np.ones_like(scale) - np.float32(FrozenBatchNorm2D.EPSILON)
    return statistics


def _named(what, names, most=6):
    if not names:
        return ""
    shown = ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
    return f"{len(names)} {what}: {shown}"


def _check_strides(model, source):
    backbone = model
    for name in ("segmentor", "backbone"):
        backbone = getattr(backbone, name, backbone)
    is_resnext = getattr(backbone, "groups", 1) > 1  # of which no source has them there
    wanted, found = SOURCES[source] and not is_resnext, getattr(backbone, "stride_in_1x1", None)
    if found is not None and found != wanted:
        raise ConversionError(
            f"{'ResNeXts' if is_resnext else 'networks'} of {source} need `stride_in_1x1: {str(wanted).lower()}` in "
            f"the backbone, this one has {found}: the tensors would fit, the output would be wrong"
        )
