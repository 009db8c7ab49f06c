import shutil

import numpy as np
import paddle
import pytest
import yaml
from paddleseg.core import infer
from paddleseg.transforms import Compose, Normalize
from PIL import Image
from tiny_export import MEAN, NUM_CLASSES, STD, TinyNetwork, write_export

from paddle_pointrend.data.transforms import RandomResize, RGBToBGR
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.runtimes import RuntimeLoadError
from paddle_pointrend.inference.sliding_window import OutputError


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    return TinyNetwork()


@pytest.fixture(scope="module")
def folders(network, tmp_path_factory):
    """Folders of the network, in format paddle, which needs no other packages: "logits" and "label"."""
    root = tmp_path_factory.mktemp("exports")
    labels = TinyNetwork(labels=True)
    labels.set_state_dict(network.state_dict())
    layers = {"logits": network, "label": labels}
    return {output: write_export(root / output, layer, "paddle") for output, layer in layers.items()}


def change_deploy(folder, target, **changes):
    """A copy of an exported folder whose deploy.yaml has other values."""
    shutil.copytree(folder, target)
    deploy = yaml.safe_load((target / "deploy.yaml").read_text())
    deploy.update(changes)
    (target / "deploy.yaml").write_text(yaml.safe_dump(deploy))
    return target


def random_image(*size):
    return np.random.randint(0, 256, (*size, 3)).astype(np.uint8)


def by_paddleseg(network, image, *transforms, **window):
    """Logits [K, H, W] by PaddleSeg's transforms and inference."""
    normalize = Normalize([m / 255 for m in MEAN], [s / 255 for s in STD])
    data = Compose([*transforms, normalize])({"img": image[..., ::-1].astype(np.float32)})  # it takes OpenCV's BGR
    network.eval()
    with paddle.no_grad():
        x = paddle.to_tensor(data["img"][None])
        return infer.inference(network, x, trans_info=data["trans_info"], **window)[1].numpy()[0]


def assert_same_labels(found, logits, *, least_clear=0.99):
    """Labels are the argmax of reference logits, but for pixels where these all but tie."""
    best = np.sort(logits, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    assert clear.mean() >= least_clear
    assert len(np.unique(logits.argmax(axis=0))) > 1
    assert np.array_equal(found[clear], logits.argmax(axis=0)[clear])


def predictors(network, folders):
    yield Predictor.from_model(network, mean=MEAN, std=STD)
    yield Predictor(folders["logits"], num_threads=1)


def test_predicts_what_paddleseg_predicts(network, folders):
    image = random_image(37, 52)
    expected = by_paddleseg(network, image)
    for predictor in predictors(network, folders):
        np.testing.assert_allclose(predictor.predict_logits(image), expected, rtol=1e-4, atol=1e-4)
        labels = predictor.predict(image)
        assert labels.dtype == np.uint8 and labels.shape == (37, 52)
        assert_same_labels(labels, expected)


def test_a_network_that_reads_bgr(network, folders, tmp_path):
    image = random_image(20, 24)
    expected = by_paddleseg(network, image, RGBToBGR())
    assert not np.allclose(expected, by_paddleseg(network, image), atol=1e-2)
    eager = Predictor.from_model(network, mean=MEAN, std=STD, channels="bgr")
    exported = Predictor(change_deploy(folders["logits"], tmp_path / "bgr", channels="bgr"), num_threads=1)
    for predictor in (eager, exported):
        np.testing.assert_allclose(predictor.predict_logits(image), expected, rtol=1e-4, atol=1e-4)


def test_images_of_one_size_go_through_together_and_results_keep_the_order(network):
    images = [random_image(*size) for size in [(20, 24), (16, 16), (20, 24), (20, 24), (16, 16)]]
    predictor = Predictor.from_model(network, mean=MEAN, std=STD)
    expected = [predictor.predict(image) for image in images]
    batches, run = [], predictor.runtime
    predictor.runtime = lambda x: batches.append(x.shape) or run(x)
    found = predictor.predict(images, batch_size=2)
    assert batches == [(2, 3, 20, 24), (1, 3, 20, 24), (2, 3, 16, 16)]
    assert len(found) == 5
    assert all(np.array_equal(*pair) for pair in zip(found, expected))
    assert predictor.predict([]) == []


def test_labels_of_a_network_that_makes_labels(network, folders):
    images = [random_image(30, 40), random_image(20, 24)]
    predictor = Predictor(folders["label"], num_threads=1)
    for image, labels in zip(images, predictor.predict(images)):
        assert labels.dtype == np.uint8
        assert_same_labels(labels, by_paddleseg(network, image))
    with pytest.raises(ValueError, match="export it with --output logits"):
        predictor.predict_logits(images)
    slides = Predictor(folders["label"], num_threads=1, window=(24, 20))
    assert np.array_equal(slides.predict(images[1]), predictor.predict(images[1]))
    for call in (lambda: slides.predict(images[0]), lambda: predictor.predict_file("a.tif", "b.tif")):
        with pytest.raises(ValueError, match=r"labels cannot be averaged .* export with --output logits"):
            call()


@pytest.mark.parametrize("size", [(16, 24), (17, 60), (50, 70), (10, 12)])
def test_larger_images_go_through_a_sliding_window(network, folders, size):
    image = random_image(*size)
    window = {"is_slide": True, "crop_size": (24, 16), "stride": (20, 9)}
    expected = by_paddleseg(network, image, **window)
    eager = Predictor.from_model(network, mean=MEAN, std=STD, window=(24, 16), window_stride=(20, 9))
    exported = Predictor(folders["logits"], num_threads=1, window=(24, 16), window_stride=(20, 9))
    for predictor in (eager, exported):
        np.testing.assert_allclose(predictor.predict_logits(image), expected, rtol=1e-4, atol=1e-4)
        assert_same_labels(predictor.predict([image, image])[1], expected)


def test_windows_go_by_three_quarters_unless_told(network):
    image = random_image(50, 70)
    expected = by_paddleseg(network, image, is_slide=True, crop_size=(24, 16), stride=(18, 12))
    predictor = Predictor.from_model(network, mean=MEAN, std=STD, window=(24, 16))
    np.testing.assert_allclose(predictor.predict_logits(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [None, (24, 16)])
def test_augments_as_paddleseg_does(network, folders, window):
    images = [random_image(37, 52), random_image(37, 52)]
    options = {"scales": [1.25, 0.5], "flip_horizontal": True, "flip_vertical": True}
    slide = {"is_slide": True, "crop_size": window, "stride": (18, 12)} if window else {}
    with paddle.no_grad():
        x = paddle.to_tensor(((images[1] - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None])
        expected = infer.aug_inference(network, x, [], **options, **slide)[1].numpy()[0]
    eager = Predictor.from_model(network, mean=MEAN, std=STD, window=window, **options)
    for predictor in (eager, Predictor(folders["logits"], num_threads=1, window=window, **options)):
        np.testing.assert_allclose(predictor.predict_logits(images)[1], expected, rtol=1e-4, atol=1e-4)
        assert_same_labels(predictor.predict(images)[1], expected)


@pytest.mark.parametrize("window", [None, (24, 16)])
@pytest.mark.parametrize("size", [(37, 52), (90, 61)])
def test_resizes_for_the_network_and_back(network, folders, tmp_path, window, size):
    transforms = [{"type": "RandomResize", "scale": [64, 48]}, {"type": "Normalize"}]
    folder = change_deploy(folders["logits"], tmp_path / "resized", Deploy={"transforms": transforms})
    predictor = Predictor(folder, num_threads=1, window=window)
    image = random_image(*size)
    slides = {"is_slide": True, "crop_size": (24, 16), "stride": (18, 12)} if window else {}
    expected = by_paddleseg(network, image, RandomResize([64, 48]), **slides)
    np.testing.assert_allclose(predictor.predict_logits(image), expected, rtol=1e-4, atol=1e-4)
    labels = predictor.predict(image)
    assert labels.shape == size
    assert_same_labels(labels, expected)
    with pytest.raises(ValueError, match="val transforms resize the image"):
        predictor.predict_file("a.tif", "b.tif")


@pytest.mark.parametrize(
    "transform",
    [
        {"type": "Padding", "target_size": [64, 64]},
        {"type": "Resize", "target_size": [64, 64]},
        {"type": "RandomResize", "scale": [64, 64], "ratio_range": [0.5, 2]},
    ],
)
def test_refuses_transforms_that_it_does_not_do(folders, tmp_path, transform):
    deploy = {"transforms": [transform, {"type": "Normalize"}]}
    folder = change_deploy(folders["logits"], tmp_path / "changed", Deploy=deploy)
    with pytest.raises(RuntimeLoadError, match=f"the transforms of .* have .*{transform['type']}.* only normalise"):
        Predictor(folder)


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([{"type": "Normalize"}, {"type": "RandomResize", "scale": [64, 48]}], "does not do there"),
        ([{"type": "RandomResize", "scale": [64, 48]}] * 2, "does not do there"),
        ([{"type": "RandomResize", "scale": [64, 48], "sides": 2}], "unexpected keyword argument 'sides'"),
        ([{"type": "RandomResize", "scale": "x"}], "scale"),
    ],
)
def test_refuses_a_resize_that_it_cannot_do(folders, tmp_path, transforms, words):
    folder = change_deploy(folders["logits"], tmp_path / "changed", Deploy={"transforms": transforms})
    with pytest.raises(RuntimeLoadError, match=f"the transforms of .* have .*{words}"):
        Predictor(folder)


def test_refuses_a_network_that_makes_labels_of_resized_images(folders, tmp_path):
    deploy = {"transforms": [{"type": "RandomResize", "scale": [64, 48]}, {"type": "Normalize"}]}
    folder = change_deploy(folders["label"], tmp_path / "changed", Deploy=deploy)
    with pytest.raises(RuntimeLoadError, match="export it with --output logits"):
        Predictor(folder)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"image is float32 \[4, 4, 3\], expected an array uint8 \[H, W, 3\] in RGB"),
        (np.zeros((4, 4), np.uint8), r"image is uint8 \[4, 4\]"),
        ([np.zeros((4, 4, 4), np.uint8)], r"image is uint8 \[4, 4, 4\]"),
        ("a.png", "image is a str, .*read_image reads a file"),
        (["a.png"], "image is a str"),
        (None, "image is a NoneType, .*cv2.imread gives None for a file that it cannot read"),
        (Image.new("RGB", (4, 4)), "image is a Image, .*np.asarray makes one"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_refuses_what_is_no_rgb_image(network, image, message):
    with pytest.raises(ValueError, match=message):
        Predictor.from_model(network, mean=MEAN, std=STD).predict(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 512}, r"window is 512, expected \(width, height\)"),
        ({"window": (0, 4)}, r"window is \(0, 4\)"),
        ({"window": (8, 8), "window_stride": (8, 9)}, "leaves gaps"),
        ({"window_stride": (8, 9)}, "without a window"),
        ({"mean": [0.5]}, r"mean is \[0.5\], expected three numbers"),
        ({"std": [1, 0, 1]}, r"std is \[1, 0, 1\], expected no 0"),
        ({"channels": "gbr"}, "channels is 'gbr', expected 'rgb' or 'bgr'"),
    ],
)
def test_refuses_mistaken_options(network, options, message):
    with pytest.raises(ValueError, match=message):
        Predictor.from_model(network, **{"mean": MEAN, "std": STD, **options})


def test_refuses_more_classes_than_8_bits_hold():
    many = paddle.nn.Conv2D(3, 257, 1)
    with pytest.raises(ValueError, match="257 classes, label maps hold at most 256"):
        Predictor.from_model(many, mean=MEAN, std=STD).predict(random_image(4, 4))
    most = paddle.nn.Conv2D(3, 256, 1)
    assert Predictor.from_model(most, mean=MEAN, std=STD).predict(random_image(4, 4)).dtype == np.uint8


def test_logits_of_another_size_come_back_at_the_images_size(network):
    """As those of a network that was exported with an output size."""
    image = random_image(20, 30)
    half = paddle.nn.Sequential(paddle.nn.Conv2D(3, NUM_CLASSES, 1), paddle.nn.AvgPool2D(2))
    predictor = Predictor.from_model(half, mean=MEAN, std=STD, window=(30, 20))
    x = paddle.to_tensor(((image - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None])
    expected = paddle.nn.functional.interpolate(half(x), [20, 30], mode="bilinear").numpy()[0]
    np.testing.assert_allclose(predictor.predict_logits(image), expected, rtol=1e-4, atol=1e-4)
    assert_same_labels(predictor.predict(image), expected)
    with pytest.raises(OutputError, match=r"made \[1, 5, 10, 15\] of windows \[1, 20, 30, 3\]"):
        predictor.predict(random_image(40, 30), batch_size=1)


def test_a_runtime_that_is_loaded_already_is_taken(folders):
    first = Predictor(folders["logits"], num_threads=1)
    assert first.runtime.name == "paddle-inference"
    assert Predictor(folders["logits"], runtime=first.runtime).runtime is first.runtime
