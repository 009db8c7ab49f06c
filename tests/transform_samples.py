"""Samples for transforms, as PaddleSeg and mmsegmentation take them, and comparisons of both sides' results."""

import numpy as np
import pytest
from torch_parity.mmseg_reference import replace_compiled_operations


def sample(height=60, width=90, classes=4, seed=0):
    """What PaddleSeg hands to the first transform: smooth colours in RGB, blocks of classes, a corner ignored."""
    state = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 127 * np.sin(x / state.uniform(3, 9) + y / state.uniform(3, 9)) for _ in range(3)]
    image = np.rint(np.stack(waves, axis=2)).astype("float32")
    label = ((x // 7 + y // 5) % classes).astype("uint8")
    label[:8, :8] = 255
    return {"img": image, "label": label, "gt_fields": ["label"], "trans_info": []}


def as_mmseg(data):
    """The same sample as mmsegmentation's transforms take it: BGR, 8 bit."""
    return {
        "img": np.ascontiguousarray(data["img"][..., ::-1].astype("uint8")),
        "img_shape": data["img"].shape[:2],
        "gt_seg_map": data["label"],
        "seg_fields": ["gt_seg_map"],
    }


def assert_same(ours, theirs):
    assert ours["img"].dtype == np.float32
    np.testing.assert_array_equal(ours["img"], theirs["img"][..., ::-1])
    np.testing.assert_array_equal(ours["label"], theirs["gt_seg_map"])


def assert_same_draws(ours, theirs, samples):
    """Both sides' transforms of each sample, from the same random state."""
    for seed, data in enumerate(samples):
        np.random.seed(seed)
        expected = theirs(as_mmseg(data))
        np.random.seed(seed)
        assert_same(ours(data), expected)


def mmseg_transforms():
    """mmsegmentation's transforms by name; its resize is mmcv's. Skips the test where it is not installed."""
    pytest.importorskip("mmseg")
    replace_compiled_operations()
    from mmcv.transforms import RandomResize, Resize
    from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop

    return {cls.__name__: cls for cls in (PhotoMetricDistortion, RandomCrop, RandomResize, Resize)}
