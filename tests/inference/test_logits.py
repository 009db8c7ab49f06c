"""Against paddleseg.core.infer: augmentation, windows, and the way back through transforms."""

import cv2
import numpy as np
import paddle
import pytest
from paddleseg.core import infer
from paddleseg.transforms import Compose, Padding, Resize
from tiny_export import TinyNetwork

from paddle_pointrend.inference import (
    ONE_PASS,
    InferenceOptions,
    OutputError,
    label_maps,
    predict_logits,
    resize_maps,
    undo_transforms,
)
from paddle_pointrend.inference.logits import check_class_count

SCALES = {"one": [1.0], "sorted": [0.5, 1.0, 1.75], "not sorted": [1.5, 0.6, 1.0], "the same twice": [0.75, 0.75]}
WINDOW = {"crop_size": (24, 16), "stride": (20, 9)}


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    network = TinyNetwork()
    network.eval()
    return network


def run_of(network):
    @paddle.no_grad()
    def run(images):
        return network(paddle.to_tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))[0].numpy()

    return run


def by_paddleseg(network, images, trans_info=(), **options):
    with paddle.no_grad():
        x = paddle.to_tensor(images.transpose(0, 3, 1, 2))
        return infer.aug_inference(network, x, trans_info, **options)[1].numpy()


@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("scales", SCALES)
def test_augments_as_paddleseg_does(network, scales, flips, window):
    images = np.random.standard_normal((1, 37, 52, 3)).astype(np.float32)
    flags = dict(zip(("flip_horizontal", "flip_vertical"), flips))
    slide = {"is_slide": True, **window} if window else {}
    expected = by_paddleseg(network, images, scales=SCALES[scales], **flags, **slide)
    own = {"window": window["crop_size"], "window_stride": window["stride"]} if window else {}
    found = predict_logits(run_of(network), images, InferenceOptions(SCALES[scales], **flags, **own))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_images_go_through_the_network_together(network):
    images = np.random.standard_normal((3, 20, 30, 3)).astype(np.float32)
    options = InferenceOptions([0.5, 1], flip_horizontal=True)
    together = predict_logits(run_of(network), images, options)
    for image, logits in zip(images, together):
        np.testing.assert_allclose(predict_logits(run_of(network), image[None], options)[0], logits, atol=1e-5)


def test_images_of_one_channel():
    def run(images):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    images = np.random.standard_normal((2, 20, 30, 1)).astype(np.float32)
    found = predict_logits(run, images, InferenceOptions([1, 2], flip_vertical=True))
    assert found.shape == (2, 1, 20, 30)


def test_one_pass_is_the_networks_output_as_it_is():
    output = np.zeros((1, 2, 4, 5), np.float32)
    assert predict_logits(lambda x: output, np.zeros((1, 8, 10, 3), np.float32), ONE_PASS) is output


TRANSFORMS = {
    "none": [],
    "resize": [Resize([64, 48])],
    "padding": [Padding([80, 60])],
    "padding, resize": [Padding([80, 60]), Resize([64, 48])],
    "resize, padding": [Resize([40, 30]), Padding([80, 60])],
    "resize, padding, resize": [Resize([40, 30]), Padding([80, 60]), Resize([50, 50])],
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_undoes_transforms_as_paddleseg_does(network, transforms, batched):
    image = np.random.randint(0, 256, (37, 52, 3)).astype(np.float32)
    data = Compose(TRANSFORMS[transforms])({"img": image})
    x = data["img"].transpose(1, 2, 0)[None] / np.float32(50)
    options = {"scales": [1.25, 0.5], "flip_horizontal": True}
    expected = by_paddleseg(network, x, data["trans_info"], **options)
    trans_info = data["trans_info"]
    if batched:
        trans_info = next(iter(paddle.io.DataLoader([data])))["trans_info"] if trans_info else []
    found = predict_logits(run_of(network), x, InferenceOptions(**options))
    found = undo_transforms(found, trans_info, x.shape[1:3])
    assert found.shape[2:] == (37, 52)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_undoes_transforms_of_labels(transforms):
    data = Compose(TRANSFORMS[transforms])({"img": np.zeros((37, 52, 3), np.float32)})
    labels = np.random.randint(0, 9, (1, 1, *data["img"].shape[1:])).astype(np.uint8)
    expected = infer.reverse_transform(paddle.to_tensor(labels.astype(np.float32)), data["trans_info"])
    found = undo_transforms(labels, data["trans_info"], labels.shape[2:], "nearest")
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected.numpy())


def test_padding_is_cut_off_logits_of_another_size():
    logits = np.zeros((1, 1, 30, 40), np.float32)
    logits[..., :20] = 1
    assert undo_transforms(logits, [("padding", (50, 40))], (60, 80)).shape == (1, 1, 50, 40)
    assert undo_transforms(logits, [("padding", (50, 40))], (60, 80)).min() > 0.5
    with pytest.raises(ValueError, match="noted 'warp' in trans_info"):
        undo_transforms(logits, [("warp", (50, 40))], (60, 80))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_resizes_every_map(dtype):
    maps = np.random.randint(0, 256, (2, 3, 8, 6)).astype(dtype)
    found = resize_maps(maps, (5, 9))
    assert found.dtype == dtype
    for i, j in np.ndindex(2, 3):
        assert np.array_equal(found[i, j], cv2.resize(maps[i, j], (9, 5)))
    assert resize_maps(maps, (8, 6)) is maps


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (2, 7, 70, 3), (1, 256, 5, 5), (1, 300, 5, 5)])
def test_labels_are_the_first_of_the_largest_logits(shape):
    logits = np.random.randint(0, 4, shape).astype(np.float32)  # many are equal
    labels = label_maps(logits)
    assert np.array_equal(labels, logits.argmax(axis=1))
    assert labels.dtype == (np.uint8 if shape[1] <= 256 else np.int32)


def test_labels_of_a_view():
    logits = np.random.standard_normal((1, 6, 9, 8)).astype(np.float32)
    part = logits[:, 2:5, ::-1, 1:]
    assert np.array_equal(label_maps(part), part.argmax(axis=1))


def test_class_counts():
    check_class_count(256)
    with pytest.raises(OutputError, match="257 classes, label maps hold at most 256"):
        check_class_count(257)
