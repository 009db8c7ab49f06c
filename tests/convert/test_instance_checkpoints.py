"""Conversion of detectron2's Mask R-CNNs; that the converted network is the reference's is test_instance_parity's."""

import functools

import numpy as np
import pytest
import torch_layouts

from paddle_pointrend.convert import ConversionError, convert_state, left_out, rename_key
from paddle_pointrend.models import MaskRCNN, PointRendMaskHead, ResNet, StandardMaskHead

NUM_CLASSES, FC_CHANNELS = 3, 32


@functools.cache
def build(is_pointrend, **backbone):
    options = {"stride_in_1x1": True, "norm": "FrozenBN", "freeze_at": 2} | backbone
    if is_pointrend:
        head = PointRendMaskHead(NUM_CLASSES, coarse_head={"fc_channels": FC_CHANNELS})
    else:
        head = StandardMaskHead(NUM_CLASSES)
    return MaskRCNN(ResNet(50, **options), NUM_CLASSES, head, box_head={"fc_channels": FC_CHANNELS})


def tensors(is_pointrend):
    random = np.random.default_rng(0)
    shapes = torch_layouts.detectron2_mask_rcnn(NUM_CLASSES, FC_CHANNELS, is_pointrend)
    return {name: random.standard_normal(shape, dtype="float32") for name, shape in shapes.items()}


@pytest.mark.parametrize("is_pointrend", [True, False])
def test_every_tensor_finds_its_place(is_pointrend):
    given = tensors(is_pointrend)
    state = convert_state(given, "detectron2", build(is_pointrend))
    assert len(state) == len(given) - 2 and left_out(given, "detectron2") == ["pixel_mean", "pixel_std"]
    transposed = 0
    for key, array in given.items():
        name = (rename_key(key, "detectron2") or "").removeprefix("segmentor.")
        if name:
            transposed += array.ndim == 2
            np.testing.assert_array_equal(state[name], array.T if array.ndim == 2 else array, err_msg=key)
    assert transposed == (7 if is_pointrend else 4)


def test_older_names_of_pointrend_are_the_same_tensors():
    given = tensors(True)
    older = {"proposal_generator.anchor_generator.cell_anchors.0": np.zeros([3, 4], "float32")}
    for key, array in given.items():
        key = key.replace("mask_head.coarse_head.fc", "mask_head.coarse_head.coarse_mask_fc")
        older[key.replace("mask_head.coarse_head", "mask_coarse_head").replace("mask_head.point", "mask_point")] = array
    assert "roi_heads.mask_coarse_head.coarse_mask_fc2.bias" in older and "roi_heads.mask_point_head.fc1.bias" in older
    new, old = (convert_state(state, "detectron2", build(True)) for state in (given, older))
    assert list(new) == list(old) and all(new[name] is old[name] or (new[name] == old[name]).all() for name in new)


def test_another_mask_head_is_named():
    with pytest.raises(ConversionError, match=r"missing: mask_head\.convs\.0\.weight") as error:
        convert_state(tensors(True), "detectron2", build(False))
    assert "unexpected: roi_heads.mask_head.coarse_head.reduce_spatial_dim_conv.weight" in str(error.value)


def test_another_number_of_classes_is_named():
    given = tensors(False) | {"roi_heads.box_predictor.cls_score.weight": np.zeros([81, FC_CHANNELS], "float32")}
    with pytest.raises(ConversionError, match=r"1 of another shape: box_head\.cls_score\.weight \[32, 81\] instead"):
        convert_state(given, "detectron2", build(False))


def test_strides_of_resnet_stand_in_the_1x1_and_of_resnext_in_the_3x3():
    with pytest.raises(ConversionError, match="networks of detectron2 need `stride_in_1x1: true`"):
        convert_state(tensors(True), "detectron2", build(True, stride_in_1x1=False))
    resnext = build(False, groups=32, width_per_group=8)
    state = {f"backbone.bottom_up.{name}": array for name, array in _resnext_tensors(resnext).items()}
    others = {name: array for name, array in tensors(False).items() if "bottom_up" not in name}
    with pytest.raises(ConversionError, match="ResNeXts of detectron2 need `stride_in_1x1: false`"):
        convert_state(others | state, "detectron2", resnext)
    right = build(False, groups=32, width_per_group=8, stride_in_1x1=False)
    assert set(convert_state(others | state, "detectron2", right)) == set(right.state_dict())


def _resnext_tensors(model):
    """The tensors of a backbone under detectron2's names."""
    ours = {name: np.zeros(tensor.shape, "float32") for name, tensor in model.backbone.state_dict().items()}
    theirs = {}
    for name, array in ours.items():
        name = name.replace("_mean", "running_mean").replace("_variance", "running_var")
        for old, new in (("downsample.0", "shortcut"), ("downsample.1", "shortcut.norm")):
            name = name.replace(old, new)
        for i in "123":
            name = name.replace(f"bn{i}.", f"conv{i}.norm.")
        if name.startswith("layer"):
            name = f"res{int(name[5]) + 1}{name[6:]}"
        else:
            name = f"stem.{name}"
        theirs[name] = array
    return theirs
