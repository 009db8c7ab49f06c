"""What the sources call the tensors of our networks: one table of renames a source.

Convolutions and norms are stored alike by torch, Caffe2 and Paddle: renaming is all there is to do. Of fully connected
layers the weights are transposed besides, by `convert_state`.
"""

import re

# Entries are (pattern of the whole name, replacement); the first that matches counts. None leaves the tensor out.

_RESNET = (
    (r"stem\.([01346])\.(.*)", r"conv1.\1.\2"),
    (r"stem\.7\.(.*)", r"bn1.\1"),
    (r"((conv1|bn1)\..*)", r"\1"),
    (r"(layer[1-4]\.\d+\.(conv[123]|bn[123]|downsample\.[01])\..*)", r"\1"),
    (r"fc\..*", None),
)

_DETECTRON2_RESNET = (
    (r"stem\.conv1\.norm\.(.*)", r"bn1.\1"),
    (r"stem\.conv1\.weight", r"conv1.weight"),
    (r"res([2-5])\.(\d+)\.conv(\d)\.norm\.(.*)", lambda m: f"layer{int(m[1]) - 1}.{m[2]}.bn{m[3]}.{m[4]}"),
    (r"res([2-5])\.(\d+)\.conv(\d)\.weight", lambda m: f"layer{int(m[1]) - 1}.{m[2]}.conv{m[3]}.weight"),
    (r"res([2-5])\.(\d+)\.shortcut\.norm\.(.*)", lambda m: f"layer{int(m[1]) - 1}.{m[2]}.downsample.1.{m[3]}"),
    (r"res([2-5])\.(\d+)\.shortcut\.weight", lambda m: f"layer{int(m[1]) - 1}.{m[2]}.downsample.0.weight"),
)

_CAFFE2_LAYERS = {"1": "downsample.0", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_CAFFE2_NORMS = {"1": "downsample.1", "2a": "bn1", "2b": "bn2", "2c": "bn3"}
_CAFFE2_PARTS = {"s": "weight", "b": "bias"}

_MSRA = (
    (r"conv1_w", "conv1.weight"),
    (r"res_conv1_bn_([sb])", lambda m: f"bn1.{_CAFFE2_PARTS[m[1]]}"),
    (
        r"res([2-5])_(\d+)_branch(1|2[abc])_w",
        lambda m: f"layer{int(m[1]) - 1}.{m[2]}.{_CAFFE2_LAYERS[m[3]]}.weight",
    ),
    (
        r"res([2-5])_(\d+)_branch(1|2[abc])_bn_([sb])",
        lambda m: f"layer{int(m[1]) - 1}.{m[2]}.{_CAFFE2_NORMS[m[3]]}.{_CAFFE2_PARTS[m[4]]}",
    ),
    (r"(conv1|res\d_\d+_branch\w+|fc1000)_b|fc1000_w", None),  # a norm follows: these biases are zero
)


# Of EfficientNet-Lite-PyTorch; what stands behind the last map is the classifier's.
_EFFICIENTNET_LITE = (
    (r"_(conv_stem|bn0)\.(.*)", r"\1.\2"),
    (r"_blocks\.(\d+)\._(\w+)\.(.*)", r"blocks.\1.\2.\3"),
    (r"(_conv_head|_bn1|_fc)\..*", None),
)


def _inside(prefix, table, new_prefix):
    """Wraps the table of a part, for names that begin with its place in the whole."""

    def rename(match):
        return _look_up(match[1], table, new_prefix)

    return f"{prefix}(.*)", rename


def _head_layer(first_level):
    """Renames layers of the head: a convolution and its x2 are two in the sources, four (conv, norm, ReLU, x2) here."""

    def rename(match):
        level, layer, part, rest = match.groups()
        place = 2 * int(layer) + (part in ("bn.", "norm."))
        return f"segmentor.head.branches.{int(level) - first_level}.{place}.{rest}"

    return rename


def _pointrend_mask_layer(head, name):
    fully_connected = {"coarse": r"(?:coarse_mask_)?fc(\d)\.(.*)", "point": r"fc(\d)\.(.*)"}[head]
    layers = {"coarse": "fcs", "point": "layers"}[head]
    table = (
        (fully_connected, lambda m: f"{layers}.{int(m[1]) - 1}.{m[2]}"),
        (r"reduce_spatial_dim_conv\.(.*)", r"reduce.\1"),
        (r"((prediction|predictor)\..*)", r"\1"),
    )
    return _look_up(name, table, f"mask_head.{head}_head.")


# What training leaves in checkpoints of mmcv and mmengine: averaged weights, an auxiliary head's, mean and std.
_OF_TRAINING = ((r"ema_.*", None), (r"auxiliary_head\..*", None), (r"data_preprocessor\..*", None))

_MMSEG = (
    *_OF_TRAINING,
    _inside(r"backbone\.", _RESNET, "segmentor.backbone."),
    (r"neck\.lateral_convs\.(\d)\.conv\.(.*)", r"segmentor.fpn.laterals.\1.\2"),
    (r"neck\.fpn_convs\.(\d)\.conv\.(.*)", r"segmentor.fpn.outputs.\1.\2"),
    (r"decode_head\.0\.scale_heads\.(\d)\.(\d)\.(conv\.|bn\.)(.*)", _head_layer(0)),
    (r"decode_head\.0\.conv_seg\.(.*)", r"segmentor.head.classifier.\1"),
    (r"decode_head\.1\.fcs\.(\d)\.conv\.(.*)", r"point_head.layers.\1.\2"),
    (r"decode_head\.1\.fc_seg\.(.*)", r"point_head.predictor.\1"),
)

_DETECTRON2 = (
    _inside(r"backbone\.bottom_up\.", _DETECTRON2_RESNET, "segmentor.backbone."),
    (r"backbone\.fpn_lateral(\d)\.(.*)", lambda m: f"segmentor.fpn.laterals.{int(m[1]) - 2}.{m[2]}"),
    (r"backbone\.fpn_output(\d)\.(.*)", lambda m: f"segmentor.fpn.outputs.{int(m[1]) - 2}.{m[2]}"),
    (r"sem_seg_head\.coarse_sem_seg_head\.p(\d)\.(\d)\.(norm\.|)(.*)", _head_layer(2)),
    (r"sem_seg_head\.coarse_sem_seg_head\.predictor\.(.*)", r"segmentor.head.classifier.\1"),
    (r"sem_seg_head\.point_head\.fc(\d)\.(.*)", lambda m: f"point_head.layers.{int(m[1]) - 1}.{m[2]}"),
    (r"sem_seg_head\.point_head\.predictor\.(.*)", r"point_head.predictor.\1"),
    (r"proposal_generator\.rpn_head\.(.*)", r"rpn.\1"),
    (r"roi_heads\.box_head\.fc(\d)\.(.*)", lambda m: f"box_head.fcs.{int(m[1]) - 1}.{m[2]}"),
    (r"roi_heads\.box_predictor\.(.*)", r"box_head.\1"),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.(.*)", lambda m: f"mask_head.convs.{int(m[1]) - 1}.{m[2]}"),
    (r"roi_heads\.mask_head\.((deconv|predictor)\..*)", r"mask_head.\1"),
    # Older checkpoints of PointRend have the names mask_coarse_head, mask_point_head and coarse_mask_fc1.
    (r"roi_heads\.mask_(head\.)?(coarse|point)_head\.(.*)", lambda m: _pointrend_mask_layer(m[2], m[3])),
    (r"proposal_generator\.anchor_generator\.cell_anchors\.\d", None),
    (r"pixel_(mean|std)", None),
)

_TABLES = {
    "mmseg": _MMSEG,
    "detectron2": _DETECTRON2,
    "torchvision": _RESNET,
    "resnet_v1c": _RESNET,
    "msra": _MSRA,
    "efficientnet_lite": _EFFICIENTNET_LITE,
}
_STATISTICS = {"running_mean": "_mean", "running_var": "_variance"}


def rename_key(key: str, source: str) -> str | None:
    """Returns our name of a source's tensor; None for one that we have no use for, and KeyError for an unknown one.

    Args:
        key: the name in the source's checkpoint.
        source: a key of `convert.SOURCES`.
    """
    if key.endswith(".num_batches_tracked"):
        return None
    stem, _, part = key.rpartition(".")
    return _look_up(f"{stem}.{_STATISTICS[part]}" if part in _STATISTICS else key, _TABLES[source])


def _look_up(key, table, prefix=""):
    for pattern, replacement in table:
        match = re.fullmatch(pattern, key)
        if match:
            new = match.expand(replacement) if isinstance(replacement, str) else replacement and replacement(match)
            return new and prefix + new
    raise KeyError(key)
