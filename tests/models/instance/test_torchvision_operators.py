"""roi_align and nms against torchvision's compiled operators, where torchvision is installed.

    pip install --no-deps torchvision==0.28.0

The tests beside this one compare with the definition, written in NumPy, and need nothing.
"""

import importlib.util

import numpy as np
import paddle
import pytest

from paddle_pointrend.inference.boxes import batched_nms as nms_in_numpy
from paddle_pointrend.models.instance.boxes import batched_nms
from paddle_pointrend.models.instance.roi_align import roi_align

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def operators():
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    from torch_parity import torchvision_on_cpu

    torchvision_on_cpu.prepare()
    import torchvision

    return torchvision.ops


def random_boxes(random, count):
    """Boxes from a fraction of a pixel to larger than the image, some beyond its border."""
    centres, sides = random.uniform(-10, 140, (count, 2)), np.exp(random.uniform(-1, 5, (count, 2)))
    return np.concatenate([centres - sides / 2, centres + sides / 2], 1).astype("float32")


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align(operators, sampling_ratio):
    import torch

    random = np.random.default_rng(sampling_ratio)
    maps, boxes = random.standard_normal((2, 3, 30, 34)).astype("float32"), random_boxes(random, 120)
    if sampling_ratio == 0:
        boxes[::20, 2] = boxes[::20, 0]  # without area: nothing to read
    images = np.repeat([0, 1], 60)
    rois = torch.tensor(np.concatenate([images[:, None], boxes], 1).astype("float32"))
    expected = operators.roi_align(torch.tensor(maps), rois, 7, 0.25, sampling_ratio, aligned=True).numpy()
    for with_gradient in (False, True):
        given = paddle.to_tensor(maps, stop_gradient=not with_gradient)
        pooled = roi_align(given, paddle.to_tensor(boxes), [60, 60], 7, 4, sampling_ratio)
        np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_nms_with_ties(operators, seed):
    import torch

    random = np.random.default_rng(seed)
    boxes, scores = (
        random_boxes(random, 300),
        random.integers(0, 20, 300).astype("float32"),
    )  # each score about 15 times
    boxes[100:120] = boxes[:20]
    groups = np.zeros(300, "int64")
    expected = operators.nms(torch.tensor(boxes), torch.tensor(scores), 0.4).tolist()
    assert 30 < len(expected) < 290
    assert batched_nms(*map(paddle.to_tensor, (boxes, scores, groups)), 0.4).tolist() == expected
    assert nms_in_numpy(boxes, scores, groups, 0.4).tolist() == expected
