"""Our Mask R-CNNs against detectron2's code, whose checkout the environment variable DETECTRON2 names.

Needs torchvision and what else scripts/compare_detectron2_instances.py asks for. The parts have tests of their own in
tests/models/instance.
"""

import importlib.util
import os

import pytest

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", params=["pointrend_r50", "mask_rcnn_r50"])
def report(request):
    if "DETECTRON2" not in os.environ:
        pytest.skip("DETECTRON2 does not name a checkout of detectron2")
    missing = [name for name in ("torchvision", "fvcore", "omegaconf") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    import compare_detectron2_instances

    return compare_detectron2_instances.run(os.environ["DETECTRON2"], request.param, seed=1, steps=3)


def test_all_tensors_are_converted(report):
    assert report["tensors"] == {"pointrend_r50": 311, "mask_rcnn_r50": 307}[report["network"]]


def test_bounds_hold(report):
    broken = {name: value for name, value in report["figures"].items() if value > report["bounds"].get(name, 1e9)}
    assert broken == {}
