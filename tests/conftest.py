"""Fixtures that several test files share: a tiny dataset, tiny configs, repeatable randomness."""

import os
import pathlib
import random
import runpy
import shutil
import types

import cv2
import numpy as np
import pytest

# Before the first import of Paddle, and of the package, which imports it: on AMD processors it is several times as slow
# otherwise. Tests that run side by side share the processors.
_ENVIRONMENT = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "paddle_pointrend" / "environment.py"))
_ENVIRONMENT["prepare"](max(1, _ENVIRONMENT["processors"]() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))))

import paddle
from paddleseg.cvlibs import Config, SegBuilder
from tiny_export import MEAN, NUM_CLASSES, STD, TinyNetwork, write_export

from paddle_pointrend.cli import main
from paddle_pointrend.deploy.export import export_model
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.points import subdivision
from paddle_pointrend.points.selection import select_subdivision_points

TINY_CLASSES = 4

_DATA = """\
batch_size: 2
iters: 2
train_dataset:
  type: Dataset
  dataset_root: {root}
  train_path: {root}/train.txt
  num_classes: {num_classes}
  mode: train
  transforms:
    - type: RandomHorizontalFlip
    - type: Normalize
val_dataset:
  type: Dataset
  dataset_root: {root}
  val_path: {root}/val.txt
  num_classes: {num_classes}
  mode: val
  transforms:
    - type: Normalize
optimizer: {{type: SGD, momentum: 0.9, weight_decay: 0.0005}}
lr_scheduler: {{type: PolynomialDecay, learning_rate: 0.01, end_lr: 0, power: 0.9}}
"""

_SEMANTIC_FPN = """\
type: SemanticFPN
num_classes: {num_classes}
backbone: {{type: ResNet18_vd, output_stride: 32}}
fpn_channels: 16
head_channels: 16
head_levels: [1, 2, 3]
"""

_POINTREND_LOSS = """\
loss:
  types:
    - type: CrossEntropyLoss
    - type: PointSampledCrossEntropyLoss
  coef: [1, 1]
"""

_COARSE_LOSS = """\
loss:
  types:
    - type: CrossEntropyLoss
  coef: [1]
"""


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    paddle.seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture
def tiny_dataset(tmp_path):
    """The root of a dataset of 64x64 images, 4 in train.txt and 3 in val.txt, with TINY_CLASSES classes."""
    return write_tiny_dataset(tmp_path / "data")


@pytest.fixture
def pointrend_config(tmp_path, tiny_dataset):
    """The path of a YAML config of a tiny PointRendSeg on tiny_dataset."""
    return write_config(tmp_path / "pointrend.yml", tiny_dataset, "PointRendSeg")


@pytest.fixture
def semantic_fpn_config(tmp_path, tiny_dataset):
    """The path of a YAML config of a tiny SemanticFPN on tiny_dataset."""
    return write_config(tmp_path / "semantic_fpn.yml", tiny_dataset, "SemanticFPN")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A dataset, two configs and a PointRendSeg trained for 4 iterations with checkpoints at 2 and 4."""
    folder = tmp_path_factory.mktemp("trained")
    root = write_tiny_dataset(folder / "data")
    case = types.SimpleNamespace(folder=folder, root=root, save_dir=folder / "output")
    case.config = write_config(folder / "pointrend.yml", root, "PointRendSeg")
    case.plain_config = write_config(folder / "semantic_fpn.yml", root, "SemanticFPN")
    case.weights = case.save_dir / "iter_4" / "model.pdparams"
    arguments = ["--iters", "4", "--save_interval", "2", "--seed", "1"]
    assert main(["train", "--config", str(case.config), "--save_dir", str(case.save_dir), *arguments]) == 0
    return case


@pytest.fixture(scope="session")
def varied_weights(trained):
    """Weights whose coarse and refined predictions use all classes and differ, as those of 4 steps do not."""
    state = paddle.load(str(trained.weights))
    paddle.seed(3)
    for name in ("segmentor.head.classifier.weight", "point_head.predictor.weight"):
        state[name] = paddle.randn(state[name].shape)
    paddle.save(state, str(trained.folder / "varied.pdparams"))
    return trained.folder / "varied.pdparams"


@pytest.fixture
def resumable(trained, tmp_path):
    """A copy of the training's folder."""
    return shutil.copytree(trained.save_dir, tmp_path / "output")


@pytest.fixture(scope="session")
def exported_once(tmp_path_factory):
    """A function that exports each network once, for tests that only read it: -> (model, folder).

    Its arguments: a function that makes the model, the format, options of that function and of export_model.
    """
    made = {}

    def export(make, file_format, options=(), **export_options):
        key = (make, file_format, repr(options), repr(export_options))
        if key not in made:
            paddle.seed(0)
            model, folder = make(**dict(options)), tmp_path_factory.mktemp("export")
            export_model(model, folder, format=file_format, **export_options)
            made[key] = model, folder
        return made[key]

    return export


@pytest.fixture(scope="session")
def tiny_exports(tmp_path_factory):
    """(a TinyNetwork, {(format, output): a folder that write_export wrote}), for tests that only read them."""
    folder = tmp_path_factory.mktemp("exports")
    paddle.seed(0)
    networks = {"logits": TinyNetwork(), "label": TinyNetwork(labels=True)}
    networks["label"].set_state_dict(networks["logits"].state_dict())
    folders = {
        (file_format, output): write_export(folder / file_format / output, network, file_format)
        for file_format in ("onnx", "paddle")
        for output, network in networks.items()
    }
    return networks["logits"], folders


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A config, random weights of its model, images, and a TinyNetwork exported as "logits" and as "label"."""
    folder = tmp_path_factory.mktemp("exported")
    case = types.SimpleNamespace(folder=folder, root=write_tiny_dataset(folder / "data"))
    case.config = write_config(folder / "config.yml", case.root, "PointRendSeg", num_classes=NUM_CLASSES)
    paddle.seed(0)
    case.network, labels = TinyNetwork(), TinyNetwork(labels=True)
    labels.set_state_dict(case.network.state_dict())
    case.logits = write_export(folder / "logits", case.network, "paddle")
    case.label = write_export(folder / "label", labels, "paddle")
    case.predictor = Predictor.from_model(case.network, mean=MEAN, std=STD)
    with paddle.utils.unique_name.guard():
        case.model = SegBuilder(Config(str(case.config))).model
    case.model.eval()
    case.weights = folder / "model.pdparams"
    paddle.save(case.model.state_dict(), str(case.weights))
    return case


def write_tiny_dataset(root, *, num_classes=TINY_CLASSES, size=64, train=4, val=3, seed=0):
    """Draws rectangles whose colour is their class; the top left corner is ignored. Returns the root."""
    random_state = np.random.RandomState(seed)
    root = pathlib.Path(root)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for part, count in (("train", train), ("val", val)):
        lines = []
        for i in range(count):
            image, label = _rectangles(random_state, num_classes, size)
            cv2.imwrite(str(root / f"images/{part}{i}.png"), image)
            cv2.imwrite(str(root / f"labels/{part}{i}.png"), label)
            lines.append(f"images/{part}{i}.png labels/{part}{i}.png\n")
        (root / f"{part}.txt").write_text("".join(lines))
    return root


def write_config(path, root, model, *, num_classes=TINY_CLASSES):
    """Writes a YAML config of a tiny `model`, "PointRendSeg" or "SemanticFPN", on the dataset at root."""
    segmentor = _SEMANTIC_FPN.format(num_classes=num_classes)
    if model == "SemanticFPN":
        text = _COARSE_LOSS + "model:\n" + _indent(segmentor, 2)
    else:
        text = (
            f"{_POINTREND_LOSS}model:\n  type: PointRendSeg\n  num_classes: {num_classes}\n"
            "  num_train_points: 32\n  num_subdivision_points: 64\n"
            "  point_head: {hidden_channels: 16}\n  segmentor:\n" + _indent(segmentor, 4)
        )
    path.write_text(_DATA.format(root=root, num_classes=num_classes) + text)
    return path


def _rectangles(random_state, num_classes, size):
    label = np.zeros((size, size), np.uint8)
    for class_id in range(1, num_classes):
        top, left = random_state.randint(0, size // 2, 2)
        height, width = random_state.randint(size // 4, size // 2, 2)
        label[top : top + height, left : left + width] = class_id
    palette = np.linspace(20, 230, num_classes).astype(np.uint8)
    image = palette[label][..., None] + random_state.randint(0, 20, (size, size, 3)).astype(np.uint8)
    label[:4, :4] = 255
    return image, label


def _indent(text, spaces):
    return "".join(" " * spaces + line + "\n" for line in text.splitlines())


@pytest.fixture
def chosen_points(monkeypatch):
    """A list that every subdivision step appends to: (the shape of the uncertainty map, the number of points)."""
    steps = []

    def watch(uncertainty, *args):
        indices, coords, mask = select_subdivision_points(uncertainty, *args)
        steps.append((list(uncertainty.shape), coords.shape[1]))
        return indices, coords, mask

    monkeypatch.setattr(subdivision, "select_subdivision_points", watch)
    return steps
