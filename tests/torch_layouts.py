"""Names and shapes of the tensors in the checkpoints of the torch references, depth 50, written down by hand."""

BLOCKS = (3, 4, 6, 3)
NUM_CLASSES = 19


def mmseg():
    """mmsegmentation's PointRend; ResNet V1c."""
    shapes = {f"backbone.{name}": shape for name, shape in resnet_v1c().items() if not name.startswith("fc.")}
    for i, channels in enumerate((256, 512, 1024, 2048)):
        shapes |= _conv(f"neck.lateral_convs.{i}.conv", 256, channels, 1, bias=True)
        shapes |= _conv(f"neck.fpn_convs.{i}.conv", 256, 256, 3, bias=True)
    for level, layers in enumerate(((0,), (0,), (0, 2), (0, 2, 4))):
        for layer in layers:
            name = f"decode_head.0.scale_heads.{level}.{layer}"
            shapes |= _conv(f"{name}.conv", 128, 128 if layer else 256, 3) | _torch_norm(f"{name}.bn", 128)
    shapes |= _conv("decode_head.0.conv_seg", NUM_CLASSES, 128, 1, bias=True)
    for i in range(3):
        shapes |= _linear(f"decode_head.1.fcs.{i}.conv", 256, 256 + NUM_CLASSES)
    return shapes | _linear("decode_head.1.fc_seg", NUM_CLASSES, 256 + NUM_CLASSES)


def detectron2():
    """The authors' PointRend; MSRA ResNet with frozen norms, GroupNorm in the head."""
    shapes = _detectron2_pyramid()
    for level, layers in zip((2, 3, 4, 5), ((0,), (0,), (0, 2), (0, 2, 4))):
        for layer in layers:
            name = f"sem_seg_head.coarse_sem_seg_head.p{level}.{layer}"
            shapes |= _conv(name, 128, 128 if layer else 256, 3)
            shapes |= {f"{name}.norm.weight": [128], f"{name}.norm.bias": [128]}
    shapes |= _conv("sem_seg_head.coarse_sem_seg_head.predictor", NUM_CLASSES, 128, 1, bias=True)
    for i, channels in enumerate((256 + NUM_CLASSES, 256, 256)):
        shapes |= _linear(f"sem_seg_head.point_head.fc{i + 1}", 256, channels)
    shapes |= _linear("sem_seg_head.point_head.predictor", NUM_CLASSES, 256)
    return shapes | {"pixel_mean": [3, 1, 1], "pixel_std": [3, 1, 1]}


def detectron2_mask_rcnn(num_classes, fc_channels, is_pointrend):
    """detectron2's Mask R-CNN, with the authors' mask head or its own; fully connected layers of fc_channels."""
    shapes = _detectron2_pyramid() | {"pixel_mean": [3, 1, 1], "pixel_std": [3, 1, 1]}
    for name, out_channels, kernel in (("conv", 256, 3), ("objectness_logits", 3, 1), ("anchor_deltas", 12, 1)):
        shapes |= _conv(f"proposal_generator.rpn_head.{name}", out_channels, 256, kernel, bias=True)
    shapes |= _fully_connected("roi_heads.box_head.fc1", fc_channels, 256 * 7 * 7)
    shapes |= _fully_connected("roi_heads.box_head.fc2", fc_channels, fc_channels)
    shapes |= _fully_connected("roi_heads.box_predictor.cls_score", num_classes + 1, fc_channels)
    shapes |= _fully_connected("roi_heads.box_predictor.bbox_pred", 4 * num_classes, fc_channels)
    head = "roi_heads.mask_head"
    if not is_pointrend:
        for i in range(4):
            shapes |= _conv(f"{head}.mask_fcn{i + 1}", 256, 256, 3, bias=True)
        shapes |= _conv(f"{head}.deconv", 256, 256, 2, bias=True)
        return shapes | _conv(f"{head}.predictor", num_classes, 256, 1, bias=True)
    shapes |= _conv(f"{head}.coarse_head.reduce_spatial_dim_conv", 256, 256, 2, bias=True)
    shapes |= _fully_connected(f"{head}.coarse_head.fc1", fc_channels, 256 * 7 * 7)
    shapes |= _fully_connected(f"{head}.coarse_head.fc2", fc_channels, fc_channels)
    shapes |= _fully_connected(f"{head}.coarse_head.prediction", num_classes * 7 * 7, fc_channels)
    for i in range(3):
        shapes |= _linear(f"{head}.point_head.fc{i + 1}", 256, 256 + num_classes)
    return shapes | _linear(f"{head}.point_head.predictor", num_classes, 256 + num_classes)


def _detectron2_pyramid():
    """MSRA ResNet with frozen norms and FPN."""
    stem = "backbone.bottom_up.stem.conv1"
    shapes = _conv(stem, 64, 3, 7) | _frozen_norm(f"{stem}.norm", 64)
    for stage, block, conv, out_channels, channels, kernel in _bottleneck_convs():
        part = "shortcut" if conv == 0 else f"conv{conv}"
        name = f"backbone.bottom_up.res{stage + 1}.{block}.{part}"
        shapes |= _conv(name, out_channels, channels, kernel) | _frozen_norm(f"{name}.norm", out_channels)
    for level, channels in zip((2, 3, 4, 5), (256, 512, 1024, 2048)):
        shapes |= _conv(f"backbone.fpn_lateral{level}", 256, channels, 1, bias=True)
        shapes |= _conv(f"backbone.fpn_output{level}", 256, 256, 3, bias=True)
    return shapes


def torchvision():
    """torchvision's resnet50."""
    return _conv("conv1", 64, 3, 7) | _torch_norm("bn1", 64) | _torch_blocks() | _classifier()


def resnet_v1c():
    """open-mmlab://resnet50_v1c."""
    shapes = {}
    for i, (out_channels, channels) in enumerate(((32, 3), (32, 32), (64, 32))):
        shapes |= _conv(f"stem.{3 * i}", out_channels, channels, 3) | _torch_norm(f"stem.{3 * i + 1}", out_channels)
    return shapes | _torch_blocks() | _classifier()


def msra():
    """Caffe2's blobs of detectron2's ImageNetPretrained/MSRA/R-50.pkl."""
    shapes = {"conv1_w": [64, 3, 7, 7], "conv1_b": [64], "res_conv1_bn_s": [64], "res_conv1_bn_b": [64]}
    for stage, block, conv, out_channels, channels, kernel in _bottleneck_convs():
        name = f"res{stage + 1}_{block}_branch" + ("1" if conv == 0 else f"2{'abc'[conv - 1]}")
        shapes |= {f"{name}_w": [out_channels, channels, kernel, kernel]}
        shapes |= {f"{name}_bn_s": [out_channels], f"{name}_bn_b": [out_channels]}
    return shapes | {"fc1000_w": [1000, 2048], "fc1000_b": [1000]}


def efficientnet_lite():
    """EfficientNet-Lite-PyTorch's efficientnet-lite0."""
    shapes = _conv("_conv_stem", 32, 3, 3) | _torch_norm("_bn0", 32)
    stages = ((1, 3, 16), (2, 3, 24), (2, 5, 40), (3, 3, 80), (3, 5, 112), (4, 5, 192), (1, 3, 320))
    block, inputs = 0, 32
    for blocks, kernel, outputs in stages:
        for _ in range(blocks):
            name, width = f"_blocks.{block}", 6 * inputs
            if block == 0:
                width = inputs
            else:
                shapes |= _conv(f"{name}._expand_conv", width, inputs, 1) | _torch_norm(f"{name}._bn0", width)
            shapes |= _conv(f"{name}._depthwise_conv", width, 1, kernel) | _torch_norm(f"{name}._bn1", width)
            shapes |= _conv(f"{name}._project_conv", outputs, width, 1) | _torch_norm(f"{name}._bn2", outputs)
            block, inputs = block + 1, outputs
    shapes |= _conv("_conv_head", 1280, 320, 1) | _torch_norm("_bn1", 1280)
    return shapes | {"_fc.weight": [1000, 1280], "_fc.bias": [1000]}


def _bottleneck_convs():
    """(stage from 1, block, convolution with 0 for the shortcut, output channels, input channels, kernel size)"""
    channels = 64
    for stage, blocks in enumerate(BLOCKS, 1):
        width = 32 * 2**stage
        for block in range(blocks):
            if block == 0:
                yield stage, block, 0, 4 * width, channels, 1
            yield stage, block, 1, width, channels, 1
            yield stage, block, 2, width, width, 3
            yield stage, block, 3, 4 * width, width, 1
            channels = 4 * width


def _torch_blocks():
    shapes = {}
    for stage, block, conv, out_channels, channels, kernel in _bottleneck_convs():
        name = f"layer{stage}.{block}"
        conv_name, norm_name = (
            (f"{name}.downsample.{i}" for i in (0, 1))
            if conv == 0
            else (
                f"{name}.conv{conv}",
                f"{name}.bn{conv}",
            )
        )
        shapes |= _conv(conv_name, out_channels, channels, kernel) | _torch_norm(norm_name, out_channels)
    return shapes


def _conv(name, out_channels, channels, kernel, bias=False):
    weight = {f"{name}.weight": [out_channels, channels, kernel, kernel]}
    return weight | ({f"{name}.bias": [out_channels]} if bias else {})


def _linear(name, out_channels, channels):
    return {f"{name}.weight": [out_channels, channels, 1], f"{name}.bias": [out_channels]}


def _fully_connected(name, out_channels, channels):
    return {f"{name}.weight": [out_channels, channels], f"{name}.bias": [out_channels]}


def _frozen_norm(name, channels):
    return {f"{name}.{part}": [channels] for part in ("weight", "bias", "running_mean", "running_var")}


def _torch_norm(name, channels):
    return _frozen_norm(name, channels) | {f"{name}.num_batches_tracked": []}


def _classifier():
    return {"fc.weight": [1000, 2048], "fc.bias": [1000]}
