"""The transforms together, as mmsegmentation's training recipe has them."""

import random

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import manager
from paddleseg.transforms import Compose, Normalize, Padding, RandomHorizontalFlip
from transform_samples import as_mmseg, mmseg_transforms, sample

import paddle_pointrend  # noqa: F401
from paddle_pointrend.data.transforms import PhotoMetricDistortion, RandomCrop, RandomResize

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.fixture
def mmseg():
    return mmseg_transforms()


def training_transforms(flip):
    """mmsegmentation's recipe in small. Padding follows Normalize, so that its 0 is the mean colour."""
    return [
        RandomResize([180, 90], [0.5, 2.0]),
        RandomCrop([100, 64], category_max_ratio=0.75),
        RandomHorizontalFlip(prob=flip),
        PhotoMetricDistortion(),
        Normalize(mean=[m / 255 for m in MEAN], std=[s / 255 for s in STD]),
        Padding([100, 64], im_padding_value=0),
    ]


@pytest.mark.parametrize("name", ["RandomResize", "RandomCrop", "PhotoMetricDistortion", "RGBToBGR"])
def test_yaml_knows(name):
    assert manager.TRANSFORMS[name].__module__ == "paddle_pointrend.data.transforms"


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_recipe_makes_images_of_one_size_in_paddlesegs_compose(flip):
    compose = Compose(training_transforms(flip))
    dataset = [compose(sample(seed=seed)) for seed in range(4)]
    for data in dataset:
        assert data["img"].shape == (3, 64, 100) and data["img"].dtype == np.float32
        assert data["label"].shape == (64, 100) and data["label"].dtype == np.uint8
        assert data["gt_fields"] == ["label"]
    batch = next(iter(paddle.io.DataLoader(dataset, batch_size=4)))
    assert batch["img"].shape == [4, 3, 64, 100]
    assert batch["label"].shape == [4, 64, 100]


def test_recipe_repeats_with_numpys_and_pythons_seeds():
    def run():
        np.random.seed(3)
        random.seed(3)
        return Compose(training_transforms(0.5))(sample())

    first, second = run(), run()
    np.testing.assert_array_equal(first["img"], second["img"])
    np.testing.assert_array_equal(first["label"], second["label"])


@pytest.mark.torch
def test_recipe_equals_mmsegmentations(mmseg):
    """Without the flip: it draws from another generator in PaddleSeg."""
    torch = pytest.importorskip("torch")
    from mmengine.structures import PixelData
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample

    steps = [
        mmseg["RandomResize"]((180, 90), (0.5, 2.0), keep_ratio=True),
        mmseg["RandomCrop"]((64, 100), 0.75),
        mmseg["PhotoMetricDistortion"](),
    ]
    preprocess = SegDataPreProcessor(mean=MEAN, std=STD, bgr_to_rgb=True, size=(64, 100), seg_pad_val=255)
    compose = Compose(training_transforms(0.0), to_rgb=False)
    for seed in range(30):
        data = sample(seed=seed)
        expected = as_mmseg(data)
        np.random.seed(seed)
        for step in steps:
            expected = step(expected)
        label = SegDataSample(gt_sem_seg=PixelData(data=torch.tensor(expected["gt_seg_map"][None].astype("int64"))))
        image = torch.tensor(np.ascontiguousarray(expected["img"].transpose(2, 0, 1)))
        padded = preprocess({"inputs": [image], "data_samples": [label]}, training=True)
        np.random.seed(seed)
        ours = compose(data)
        np.testing.assert_allclose(ours["img"], padded["inputs"][0].numpy(), rtol=0, atol=2e-6)
        np.testing.assert_array_equal(ours["label"], padded["data_samples"][0].gt_sem_seg.data[0].numpy())
