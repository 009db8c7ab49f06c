"""paddle-pointrend attach: a base is trained, sharpened, and stays as it was."""

import json
import re
import shlex
import shutil
import types

import numpy as np
import paddle
import pytest
import yaml
from command_line import error_line, run
from conftest import TINY_CLASSES, write_config, write_tiny_dataset
from paddle import nn
from paddleseg.cvlibs import Config, SegBuilder, manager
from paddleseg.utils import utils
from safetensors.numpy import save_file

HOSTS = {
    "DeepLabV3P": {
        "type": "DeepLabV3P",
        "num_classes": 4,
        "backbone": {"type": "ResNet18_vd", "output_stride": 16, "pretrained": None},
        "pretrained": None,
    },
    "UNet": {"type": "UNet"},
    "SemanticFPN": None,  # write_config's
    "Even": {"type": "Even", "num_classes": 4},
    "Forgetful": {"type": "Forgetful", "num_classes": 4},
    "Closed": {"type": "Closed", "num_classes": 4},
    "Narrow": {"type": "Narrow", "num_classes": 4},
}


class Even(nn.Layer):
    """A model that takes images whose sides are multiples of 8."""

    def __init__(self, num_classes, pretrained=None):
        super().__init__()
        self.stem = nn.Conv2D(3, 8, 3, stride=4, padding=1)
        self.classifier = nn.Conv2D(8, num_classes, 3, stride=2, padding=1)
        self.start(pretrained)

    def start(self, pretrained):
        if pretrained is not None:
            utils.load_entire_model(self, pretrained)

    def forward(self, x):
        logits = self.classifier(self.stem(x))
        if any(size % 8 for size in x.shape[2:]):
            raise ValueError("(InvalidArgument) Broadcast dimension mismatch.\n  [Hint: ...]")
        return [nn.functional.interpolate(logits, size=x.shape[2:], mode="bilinear")]


class Forgetful(Even):
    """Takes `pretrained` and loads nothing."""

    def start(self, pretrained):
        pass


class Closed(Even):
    """Does not take `pretrained`."""

    def __init__(self, num_classes):
        super().__init__(num_classes)


class Narrow(Even):
    """Runs at one size only."""

    def forward(self, x):
        if x.shape[2:] != [128, 192]:
            raise RuntimeError("one size only")
        return super().forward(x)


@pytest.fixture(scope="module", autouse=True)
def registered():
    components = manager.MODELS.components_dict
    classes = {cls.__name__: cls for cls in (Even, Forgetful, Closed, Narrow)}
    components.update(classes)
    yield
    for name in classes:
        del components[name]


def write_base(path, root, name):
    """The config of a host on the dataset at root."""
    write_config(path, root, "SemanticFPN")
    if HOSTS[name]:
        content = yaml.safe_load(path.read_text())
        content["model"] = HOSTS[name]
        path.write_text(yaml.safe_dump(content))
    return path


def save_weights(config, path):
    """Random weights of a config's model. Returns the path."""
    with paddle.utils.unique_name.guard():
        paddle.save(SegBuilder(Config(str(config))).model.state_dict(), str(path))
    return path


def vary(path):
    """Makes weights predict all classes, as those of a few iterations do not."""
    state = paddle.load(str(path))
    classifiers = [name for name in state if len(state[name].shape) == 4 and state[name].shape[0] == TINY_CLASSES]
    for name in classifiers:
        paddle.seed(3)  # UNet has its classifier under two names
        state[name] = paddle.randn(state[name].shape)
    paddle.save(state, str(path))


@pytest.fixture(scope="module", params=["DeepLabV3P", "UNet", "SemanticFPN"])
def trained(request, tmp_path_factory):
    """A host trained for 2 iterations, and what val says of it."""
    folder = tmp_path_factory.mktemp("trained")
    root = write_tiny_dataset(folder / "data")
    config = write_base(folder / "base.yml", root, request.param)
    assert run("train", "--config", config, "--save_dir", folder / "base", "--seed", 1) == 0
    weights, measures = folder / "base/iter_2", folder / "base.json"
    vary(weights / "model.pdparams")
    assert run("val", "--config", config, "--model_path", weights, "--json", measures) == 0
    measures = json.loads(measures.read_text())["predictions"]["prediction"]
    yield types.SimpleNamespace(folder=folder, config=config, weights=weights, measures=measures, name=request.param)
    shutil.rmtree(folder)  # of hundreds of MB


@pytest.fixture
def base(tmp_path, tiny_dataset):
    """A DeepLabV3P's config and random weights, and where to write: what the tests of mistakes need."""
    config = write_base(tmp_path / "base.yml", tiny_dataset, "DeepLabV3P")
    return types.SimpleNamespace(config=config, weights=save_weights(config, tmp_path / "base.pdparams"))


def attach(base, output, *arguments):
    return run("attach", "--config", base.config, "--model_path", base.weights, *arguments, output)


def bits(path):
    return {name: tensor.tobytes() for name, tensor in paddle.load(str(path), return_numpy=True).items()}


def test_the_point_head_learns_and_the_model_stays_as_it_is(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained.folder)
    assert run("attach", "--config", "base.yml", "--model_path", "base/iter_2", "new/sharp.yml") == 0
    train, val = capsys.readouterr().out.splitlines()[-2:]
    assert run(*shlex.split(train)[1:], "--save_interval", 1) == 0
    host = bits(trained.weights / "model.pdparams")
    first, last = (bits(f"output/sharp/iter_{i}/model.pdparams") for i in (1, 2))
    assert {name: last[f"segmentor.{name}"] for name in host} == host
    heads = [name for name in last if not name.startswith("segmentor.")]
    assert heads and all(name.startswith("point_head.") for name in heads)
    assert all(first[name] != last[name] for name in heads)
    shutil.move("base", "elsewhere")  # the checkpoints hold the model too
    try:
        assert run(*shlex.split(val)[1:], "--json", "sharp.json") == 0
    finally:
        shutil.move("elsewhere", "base")
    found = json.loads((trained.folder / "sharp.json").read_text())["predictions"]
    assert found["coarse"] == trained.measures
    assert found["refined"] != found["coarse"]
    assert len([iou for iou in found["coarse"]["class_iou"] if iou]) > 1


def test_written_config_can_be_read(trained, capsys):
    output = trained.folder / "sharp.yaml"
    assert attach(trained, output, "--iters", 7, "--learning_rate", 0.01) == 0
    printed, text = capsys.readouterr().out, output.read_text()
    assert text.startswith(f"# PointRend on the trained {trained.name} of {trained.config}")
    assert "Expected time: not measured. Expected score: not measured." in text
    content = yaml.safe_load(text)
    assert list(content) == ["_base_", "iters", "model", "loss", "optimizer", "lr_scheduler"]
    assert (content["_base_"], content["iters"], content["lr_scheduler"]["learning_rate"]) == ("base.yml", 7, 0.01)
    assert content["model"]["num_classes"] == content["model"]["segmentor"]["num_classes"] == 4
    assert text.count("pretrained:") == 1
    model = SegBuilder(Config(str(output))).model
    if model.taps is not None:
        found = {"coarse": model.taps.coarse, "fine": model.taps.fine}
        assert content["model"]["taps"] == {name: paths for name, paths in found.items() if paths}
    assert "coef: [1]\n" in text and "    - type: PointSampledCrossEntropyLoss\n" in text
    expected = {
        "DeepLabV3P": ["Coarse logits: head", "(stride 4)", "(64 channels, stride 4)", "Subdivision steps: 2."],
        "UNet": ["(stride 1)", "Subdivision steps: 1."],
        "SemanticFPN": ["forward_features (stride 8)", "(16 channels, stride 4)", "Subdivision steps: 3."],
    }
    for words in expected[trained.name]:
        assert words in text and words in printed


def test_training_is_short_and_its_schedule_ends_with_it(base, tmp_path):
    base.config.write_text(base.config.read_text().replace("iters: 2", "iters: 80000"))
    assert attach(base, tmp_path / "sharp.yml") == 0
    config = Config(str(tmp_path / "sharp.yml"))
    assert config.iters == 1000
    assert config.train_dataset_cfg == Config(str(base.config)).train_dataset_cfg
    scheduler = SegBuilder(config).lr_scheduler
    scheduler.step(1000)
    assert scheduler.get_lr() == 0


def test_class_weights_are_kept(base, tmp_path):
    content = yaml.safe_load(base.config.read_text())
    content["loss"]["types"][0]["weight"] = [1.0, 2.0, 3.0, 4.0]
    base.config.write_text(yaml.safe_dump(content))
    assert attach(base, tmp_path / "sharp.yml") == 0
    assert "weight: [1.0, 2.0, 3.0, 4.0]\n" in (tmp_path / "sharp.yml").read_text()
    loss = SegBuilder(Config(str(tmp_path / "sharp.yml"))).loss["types"][0]
    assert loss.weight.tolist() == [1, 2, 3, 4]


def test_base_in_another_folder_with_a_base_of_its_own(base, tmp_path, tiny_dataset):
    deep = tmp_path / "models/mine"
    deep.mkdir(parents=True)
    (deep / "mine.yml").write_text("_base_: ../../base.yml\niters: 5\n")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a/b")
    base.config = deep / "mine.yml"
    assert attach(base, tmp_path / "link/sharp.yml") == 0
    assert yaml.safe_load((tmp_path / "a/b/sharp.yml").read_text())["_base_"] == "../../models/mine/mine.yml"
    for path in ("link/sharp.yml", "a/b/sharp.yml"):
        assert Config(str(tmp_path / path)).iters == 5
    for path in (base.config, tmp_path / "base.yml"):
        before = path.read_bytes()
        assert attach(base, path) == 2
        assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["ema_best_model", "safetensors", "both"])
def test_takes_the_folders_that_val_takes(base, tmp_path, kind):
    """The config names the file itself, which the trainer reads without asking for others."""
    folder = tmp_path / "trained"
    folder.mkdir()
    names = {"ema_best_model": ["ema_model.pdparams"], "safetensors": ["model.safetensors"]}
    names = names.get(kind, ["ema_model.pdparams", "model.safetensors"])
    state = paddle.load(str(base.weights))
    for name in names:
        if name.endswith(".safetensors"):
            save_file({key: tensor.numpy() for key, tensor in state.items()}, folder / name)
        else:
            shutil.copy(base.weights, folder / name)
    base.weights = folder
    assert attach(base, tmp_path / "sharp.yml") == 0
    assert yaml.safe_load((tmp_path / "sharp.yml").read_text())["model"]["segmentor"]["pretrained"] == str(
        folder / names[0]
    )
    segmentor = SegBuilder(Config(str(tmp_path / "sharp.yml"))).model.segmentor.state_dict()
    assert segmentor.keys() == state.keys()
    assert all((segmentor[key] == state[key]).all() for key in state)


def test_named_sublayers_are_written_and_read(base, tmp_path, capsys):
    arguments = ["--fine", "backbone[0]", "--fine", "backbone[1]"]
    assert attach(base, tmp_path / "sharp.yml", *arguments) == 0
    assert "backbone[0] (64 channels, stride 4), backbone[1] (128 channels, stride 8)" in capsys.readouterr().out
    assert yaml.safe_load((tmp_path / "sharp.yml").read_text())["model"]["taps"]["fine"] == arguments[1::2]
    assert SegBuilder(Config(str(tmp_path / "sharp.yml"))).model.taps.fine_channels == [64, 128]


@pytest.mark.parametrize("fine", [None, "backbone[1]"])
def test_a_pyramid_without_its_finest_level_is_read_at_its_backbone(tmp_path, tiny_dataset, capsys, fine):
    config = write_base(tmp_path / "base.yml", tiny_dataset, "SemanticFPN")
    content = yaml.safe_load(config.read_text())
    del content["model"]["head_levels"]
    content["model"]["backbone_indices"] = [1, 2, 3]
    config.write_text(yaml.safe_dump(content))
    case = types.SimpleNamespace(config=config, weights=save_weights(config, tmp_path / "base.pdparams"))
    vary(case.weights)
    assert attach(case, tmp_path / "sharp.yml", *(["--fine", fine] if fine else [])) == 0
    features = f"{fine} (128 channels, stride 8)" if fine else "backbone[0] (64 channels, stride 4)"
    assert f"Coarse logits: head (stride 8). Fine features: {features}" in capsys.readouterr().out
    host, model = (SegBuilder(Config(str(path))).model for path in (config, tmp_path / "sharp.yml"))
    host.set_state_dict(paddle.load(str(case.weights)))
    host.eval(), model.eval()
    image = paddle.randn([1, 3, 64, 96])
    coarse, _ = host.forward_features(image)
    _, found, (fine_features,) = model.segment(image)
    np.testing.assert_array_equal(found.numpy(), coarse.numpy())
    np.testing.assert_array_equal(fine_features.numpy(), host.backbone(image)[1 if fine else 0].numpy())


def test_model_that_needs_certain_sizes_gets_a_size_divisor(tmp_path, tiny_dataset, capsys):
    config = write_base(tmp_path / "base.yml", tiny_dataset, "Even")
    case = types.SimpleNamespace(config=config, weights=save_weights(config, tmp_path / "base.pdparams"))
    assert attach(case, tmp_path / "sharp.yml") == 0
    assert "padded to multiples of 8," in capsys.readouterr().out
    model = SegBuilder(Config(str(tmp_path / "sharp.yml"))).model
    model.eval()
    assert model.size_divisor == 8
    assert model(paddle.zeros([1, 3, 33, 47]))[0].shape == [1, 4, 33, 47]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Forgetful", "Forgetful does not load all of its `pretrained` weights"),
        ("Closed", "Closed has no argument `pretrained`"),
        ("Narrow", "with PointRend the model fails: one size only"),
    ],
)
def test_refuses_a_model_that_it_cannot_be_put_on(tmp_path, tiny_dataset, capsys, name, message):
    config = write_base(tmp_path / "base.yml", tiny_dataset, name)
    case = types.SimpleNamespace(config=config, weights=save_weights(config, tmp_path / "base.pdparams"))
    capsys.readouterr()
    assert attach(case, tmp_path / "sharp.yml") == 2
    assert f"--config {config}: {message}" in error_line(capsys)
    assert not (tmp_path / "sharp.yml").exists()


MISTAKES = {
    "no config": ({"--config": "none.yml"}, "none.yml: there is no such file"),
    "no weights": ({"--model_path": "none.pdparams"}, "none.pdparams: there is no such file"),
    "no weights in the folder": ({"--model_path": "data"}, "data/model.pdparams: there is no such file"),
    "half of the weights": ({"--model_path": "half.pdparams"}, "half.pdparams cannot be read"),
    "another model's weights": ({"--model_path": "unet.pdparams"}, "unet.pdparams does not belong to this model"),
    "not YAML": ({"OUT": "sharp.txt"}, "OUT must end in .yml"),
    "over the config": ({"OUT": "base.yml"}, "base.yml is what --config base.yml is read from"),
    "over the config by a detour": ({"OUT": "data/../base.yml"}, "is read from"),
    "in a file": ({"OUT": "base.pdparams/sharp.yml"}, "cannot write this file"),
    "a folder": ({"OUT": "folder.yml"}, "cannot write this file"),
    "PointRend twice": ({"--config": "pointrend.yml"}, "its model is a PointRendSeg already"),
    "iterations": ({"--iters": "0"}, "--iters: must be at least 1"),
    "learning rate": ({"--learning_rate": "-1"}, "--learning_rate: must be above 0"),
    "learning rate that is no number": ({"--learning_rate": "nan"}, "--learning_rate: must be above 0"),
    "coarse": ({"--coarse": "nowhere"}, "taps.coarse: .*no sublayer 'nowhere'.*stride 4"),
    "coarse of other classes": ({"--coarse": "backbone[0]"}, "taps.coarse: .*64 channels.* 4 classes"),
    "fine": ({"--fine": "backbone[9]"}, r"taps.fine: .*'backbone\[9\]'.*backbone\[0\] \(64 channels, stride 4\)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_refuses_mistakes_in_one_line_and_writes_nothing(base, tmp_path, tiny_dataset, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.pdparams").write_bytes(base.weights.read_bytes()[:5000])
    (tmp_path / "folder.yml").mkdir()
    paddle.save({"conv.weight": paddle.zeros([3])}, "unet.pdparams")
    write_config(tmp_path / "pointrend.yml", tiny_dataset, "PointRendSeg")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    changed, message = MISTAKES[name]
    arguments = {"--config": "base.yml", "--model_path": "base.pdparams", "OUT": "sharp.yml", **changed}
    output = arguments.pop("OUT")
    capsys.readouterr()
    assert run("attach", output, *(word for pair in arguments.items() for word in pair)) == 2
    line = error_line(capsys)
    assert line.startswith("paddle-pointrend attach: error: ")
    assert re.search(message, line), line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_disk_that_is_full_at_the_end_is_one_line(base, tmp_path, capsys, monkeypatch):
    def fail(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("paddle_pointrend.paddleseg.attach.write_whole", fail)
    assert attach(base, tmp_path / "sharp.yml") == 2
    assert error_line(capsys).endswith("sharp.yml: cannot write this file: No space left on device")
