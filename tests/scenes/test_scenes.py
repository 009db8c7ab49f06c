"""The built-in street scenes: repeatable, exact at any resolution, readable by PaddleSeg."""

import json

import cv2
import numpy as np
import pytest

from paddle_pointrend.data.cityscapes import CLASSES, IGNORE_INDEX, PALETTE
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.data.masks import decode_mask
from paddle_pointrend.scenes import CATEGORIES
from paddle_pointrend.scenes import dataset as scenes
from paddle_pointrend.scenes.canvas import Camera, Light, Scene
from paddle_pointrend.scenes.dataset import draw_instances, draw_scene, scene_seed, write_dataset
from paddle_pointrend.scenes.furniture import traffic_light


def label_edges(label):
    """Pixels whose right or lower neighbour has another class."""
    edges = np.zeros(label.shape, bool)
    edges[:, :-1] |= label[:, :-1] != label[:, 1:]
    edges[:-1] |= label[:-1] != label[1:]
    return edges


@pytest.fixture(scope="module")
def small_set():
    return [draw_scene(seed, 128, 256) for seed in range(24)]


def test_classes_and_palette_are_those_of_cityscapes():
    assert len(CLASSES) == 19
    assert (CLASSES[0], CLASSES[-1]) == ("road", "bicycle")
    assert (PALETTE.shape, PALETTE.dtype) == ((19, 3), np.uint8)
    assert len(np.unique(PALETTE, axis=0)) == 19
    assert PALETTE[CLASSES.index("car")].tolist() == [0, 0, 142]


def test_same_seed_gives_same_bytes_whatever_came_before():
    image, label = draw_scene(7, 96, 160)
    np.random.seed(1)
    draw_scene(8, 64, 64)
    again = draw_scene(7, 96, 160)
    assert image.tobytes() == again[0].tobytes()
    assert label.tobytes() == again[1].tobytes()
    other = draw_scene(8, 96, 160)
    assert (other[1] != label).mean() > 0.05


def test_shapes_types_and_values(small_set):
    for image, label in small_set:
        assert (image.shape, image.dtype) == ((128, 256, 3), np.uint8)
        assert (label.shape, label.dtype) == ((128, 256), np.uint8)
        assert set(np.unique(label)) <= {*range(19), IGNORE_INDEX}
        assert image.std() > 15


@pytest.mark.parametrize("size", [(32, 32), (33, 97), (200, 64), (48, 240)])
def test_any_size_and_shape_is_filled(size):
    image, label = draw_scene(3, *size)
    assert (image.shape, label.shape) == ((*size, 3), size)
    assert len(np.unique(label)) >= 5


def test_every_class_appears_and_none_dominates(small_set):
    labels = np.stack([label for _, label in small_set])
    present = np.array([[(label == c).sum() >= 5 for c in range(19)] for label in labels])
    assert {CLASSES[c] for c in np.flatnonzero(present.sum(0) < 3)} == set()
    share = np.array([(labels == c).mean() for c in range(19)])
    assert share.max() < 0.45, CLASSES[share.argmax()]
    assert share.min() > 5e-4, CLASSES[share.argmin()]
    assert (labels == IGNORE_INDEX).mean() < 0.03


@pytest.mark.parametrize("seed", [0, 5, 12])
@pytest.mark.parametrize("factor", [2, 3])
def test_label_is_exact_at_any_resolution(seed, factor):
    height = 384 // factor
    _, coarse = draw_scene(seed, height, 2 * height)
    _, fine = draw_scene(seed, height * factor, 2 * height * factor)
    # With factor 3 the middle fine pixel has its centre where the coarse one has: one point, asked twice.
    # With factor 2 the nearest is a quarter of a coarse pixel away.
    seen = fine[factor // 2 :: factor, factor // 2 :: factor]
    assert (seen == coarse).mean() > (0.97 if factor == 2 else 0.98)
    inner = cv2.dilate(label_edges(coarse).astype(np.uint8), np.ones((3, 3))) == 0
    assert (seen == coarse)[inner].mean() > 0.997
    for c in range(19):
        # 0.5 % of the picture: a fence of bars thinner than a sample is drawn a sample wide.
        assert (fine == c).mean() == pytest.approx((coarse == c).mean(), abs=0.005), CLASSES[c]


def test_a_resized_label_would_not_pass_as_the_finer_one():
    _, coarse = draw_scene(0, 128, 256)
    _, fine = draw_scene(0, 512, 1024)
    blocky = coarse.repeat(4, 0).repeat(4, 1)
    edges = cv2.dilate(label_edges(fine).astype(np.uint8), np.ones((5, 5))) > 0
    assert (blocky != fine)[edges].mean() > 0.1


def test_image_edges_lie_on_label_edges(small_set):
    ratios = []
    for image, label in small_set[:12]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        edges = label_edges(label)
        at_edge = cv2.dilate(edges.astype(np.uint8), np.ones((2, 2)), anchor=(0, 0)) > 0
        ratios.append(slope[at_edge].mean() / slope[~at_edge].mean())
        # Moved by four pixels, the label's edges no longer lie where the image has its own.
        assert slope[edges].mean() > 1.1 * slope[np.roll(edges, 4, (0, 1))].mean()
    assert min(ratios) > 1.2
    assert np.mean(ratios) > 1.5


def test_a_stride_8_map_can_not_hold_these_edges(small_set):
    """Even the true label, reduced to stride 8 and enlarged, misses thin things: points have work to do."""
    thin = [CLASSES.index(name) for name in ("pole", "fence", "bicycle", "traffic sign")]
    lost = kept4 = total = 0
    for _, label in small_set:
        wanted = np.isin(label, thin)
        total += wanted.sum()
        for stride in (8, 4):
            one_hot = (label[..., None] == np.arange(19)).astype(np.float32)
            small = cv2.resize(one_hot, (256 // stride, 128 // stride), interpolation=cv2.INTER_AREA)
            seen = cv2.resize(small, (256, 128), interpolation=cv2.INTER_LINEAR).argmax(-1)
            if stride == 8:
                lost += (seen != label)[wanted].sum()
            else:
                kept4 += (seen == label)[wanted].sum()
    assert lost / total > 0.3
    assert kept4 / total > 1 - lost / total + 0.1


def test_dataset_loads_with_paddleseg(tmp_path):
    pytest.importorskip("paddleseg")
    from paddleseg.datasets import Cityscapes, Dataset
    from paddleseg.transforms import Normalize

    calls = []
    assert write_dataset(tmp_path / "s", 3, 2, 64, 128, progress=lambda *at: calls.append(at)) == tmp_path / "s"
    assert calls == [(i, 5) for i in range(1, 6)]
    for mode, count in (("train", 3), ("val", 2)):
        root = str(tmp_path / "s")
        hosts = Cityscapes([Normalize()], dataset_root=root, mode=mode)
        lists = Dataset(mode, root, [Normalize()], 19, **{f"{mode}_path": str(tmp_path / "s" / f"{mode}.txt")})
        assert len(hosts) == len(lists) == count
        assert hosts.file_list == lists.file_list
        image, truth = draw_scene(scene_seed(0, mode, 1), 64, 128)
        assert np.array_equal(np.squeeze(hosts[1]["label"]), truth)
        assert np.array_equal(cv2.imread(hosts.file_list[1][0])[..., ::-1], image)
        assert hosts[1]["img"].shape == (3, 64, 128)


@pytest.mark.parametrize("seed", [0, 3])
def test_instances_tell_the_objects_of_a_label_apart(seed):
    _, label, ids = draw_instances(seed, 192, 384)
    categories = {CLASSES.index(name): number for number, name in CATEGORIES.items()}
    assert ids.dtype == np.uint16
    wanted = np.vectorize(lambda value: categories.get(value, 0))(label)
    np.testing.assert_array_equal(ids // 1000, wanted)
    # A car is in one place: where two are apart and of different depth, they have different numbers.
    cars = np.unique(ids[label == CLASSES.index("car")])
    pieces, _ = cv2.connectedComponents((label == CLASSES.index("car")).astype(np.uint8))
    assert len(cars) > 1
    assert len(cars) >= 0.3 * (pieces - 1)
    sizes = [(ids == car).sum() for car in cars]
    assert max(sizes) < 0.9 * sum(sizes)


def test_two_signals_on_one_pole_are_two_objects():
    class SecondSignal:  # a source of chance that puts one on an arm
        def random(self):
            return 0.0

        def uniform(self, low, high):
            return high

        def integers(self, high):
            return 0

    camera = Camera(aspect=2, focal=1, horizon=0.5, centre=1, height=1.5)
    scene = Scene(SecondSignal(), camera, Light((0, 0), 0, 0, (0, 0, 0)))
    scene.at(1, 10.0)
    traffic_light(scene, 0.0, 10.0, 1)
    signals = [shape for shape in scene.shapes if CLASSES[shape.class_id] == "traffic light"]
    assert len({shape.thing for shape in signals}) == 2


def test_the_data_set_has_its_instances_in_cocos_format(tmp_path):
    write_dataset(tmp_path, 2, 1, 96, 192)
    dataset = CocoInstances(tmp_path, "annotations/instances_train.json", "", short_sides=[96])
    assert dataset.coco.class_names == list(CATEGORIES.values())
    assert len(dataset) == 2
    for index, image in enumerate(dataset.coco.images):
        _, _, ids = draw_instances(scene_seed(0, "train", index), 96, 192)
        found = np.zeros_like(ids, bool)
        for item in image.objects:
            mask = decode_mask(item["segmentation"], 96, 192)
            (value,) = np.unique(ids[mask])
            assert value // 1000 == item["category_id"]
            np.testing.assert_array_equal(mask, ids == value)
            assert item["area"] == mask.sum()
            x, y, width, height = item["bbox"]
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert mask[y].any() and mask[y + height - 1].any() and mask[:, x].any() and mask[:, x + width - 1].any()
            found |= mask
        np.testing.assert_array_equal(found, ids > 0)
        assert dataset.training_sample(image, np.random.default_rng(0)).masks.shape[1:] == (96, 192)


def test_writing_again_resumes(tmp_path, monkeypatch):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, 3, 1, 32, 64, progress=stop)
    images = sorted(tmp_path.glob("leftImg8bit/train/*/*.png"))
    assert len(images) == 2
    stamps = [path.stat().st_mtime_ns for path in images]
    drawn = []
    monkeypatch.setattr(scenes, "draw_instances", lambda *a: drawn.append(a) or draw_instances(*a))
    write_dataset(tmp_path, 3, 1, 32, 64)
    assert len(drawn) == 2
    assert [path.stat().st_mtime_ns for path in images] == stamps
    assert len((tmp_path / "train.txt").read_text().splitlines()) == 3
    assert not list(tmp_path.rglob("*.part"))


def test_other_parameters_are_refused(tmp_path):
    write_dataset(tmp_path, 1, 0, 32, 64)
    with pytest.raises(ValueError, match=r"'width': 64.*'width': 96.*Fix"):
        write_dataset(tmp_path, 1, 0, 32, 96)
    assert json.loads((tmp_path / "scenes.json").read_text())["width"] == 64


def test_somebody_elses_dataset_is_left_alone(tmp_path):
    (tmp_path / "gtFine").mkdir()
    with pytest.raises(ValueError, match="without scenes"):
        write_dataset(tmp_path, 1, 0, 32, 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gtFine"]


def test_train_and_val_share_no_scene():
    seeds = {scene_seed(s, split, i) for s in (0, 1, 2) for split in ("train", "val") for i in range(50)}
    assert len(seeds) == 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-1, 64, 64), "seed is -1"),
        ((0.5, 64, 64), "seed is 0.5"),
        ((True, 64, 64), "seed is True"),
        ((0, 31, 64), "height is 31.*>= 32"),
        ((0, 64, "64"), "width is '64'"),
    ],
)
def test_bad_scene_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        draw_scene(*arguments)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_train": -1}, "num_train is -1"),
        ({"num_val": 1.5}, "num_val is 1.5"),
        ({"height": 8}, "height is 8"),
        ({"width": None}, "width is None"),
        ({"seed": "a"}, "seed is 'a'"),
    ],
)
def test_bad_dataset_arguments_write_nothing(tmp_path, changed, words):
    with pytest.raises(ValueError, match=words):
        write_dataset(tmp_path / "new", **({"num_train": 1, "num_val": 1, "height": 32, "width": 64} | changed))
    assert not (tmp_path / "new").exists()
