"""The doors for notebooks and scripts: load_config, load_model, attach_pointrend, train_model."""

import copy
import os

import numpy as np
import paddle
import pytest
from conftest import TINY_CLASSES
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend import PointRendSeg, load_model
from paddle_pointrend.errors import UsageError
from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg import load_config, train_model
from paddle_pointrend.paddleseg.attach import attach_pointrend, write_config


@pytest.fixture
def pretrained_config(trained, tmp_path):
    """The trained model's config with backbone weights that are nowhere."""
    text = trained.config.read_text()
    path = tmp_path / "pretrained.yml"
    path.write_text(text.replace("output_stride: 32", "output_stride: 32, pretrained: /nowhere.pdparams"))
    return path


def assert_trained(model, weights):
    assert isinstance(model, PointRendSeg)
    assert not model.training
    state = paddle.load(str(weights), return_numpy=True)
    found = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("kind", [str, load_config, lambda path: Config(str(path))])
def test_load_model_takes_a_path_or_a_config(trained, kind):
    model = load_model(kind(trained.config), trained.weights)
    assert_trained(model, trained.weights)
    assert model(paddle.zeros([1, 3, 48, 64]))[0].shape == [1, TINY_CLASSES, 48, 64]


def test_load_model_takes_a_folder_or_a_url(trained, monkeypatch):
    assert_trained(load_model(trained.config, trained.weights.parent), trained.weights)
    asked = []

    def download(url):
        asked.append(url)
        return str(trained.weights)

    monkeypatch.setattr("paddle_pointrend.paddleseg.models.fetch_weights", download)
    assert_trained(load_model(trained.config, "https://example.org/model.pdparams"), trained.weights)
    assert asked == ["https://example.org/model.pdparams"]


def test_load_model_reads_no_pretrained_weights_and_leaves_the_config_as_it_was(trained, pretrained_config):
    assert_trained(load_model(pretrained_config, trained.weights), trained.weights)
    config = load_config(pretrained_config)
    before = copy.deepcopy(config.dic)
    assert_trained(load_model(config, trained.weights), trained.weights)
    assert config.dic == before


def test_load_model_changes_a_file_by_opts(trained):
    model = load_model(trained.config, trained.weights, opts=["model.num_subdivision_points=17"])
    assert model.num_subdivision_points[0] == 17
    with pytest.raises(UsageError, match=r"pass \['iters=3'\] to load_config"):
        load_model(load_config(trained.config), trained.weights, opts=["iters=3"])


@pytest.mark.parametrize(
    ("config", "weights", "opts", "error", "message"),
    [
        ("none.yml", "model", (), UsageError, "--config none.yml: there is no such file"),
        ("config", None, (), UsageError, "--model_path is missing"),
        ("config", "", (), UsageError, "--model_path is missing"),
        ("config", "none.pdparams", (), CheckpointError, "none.pdparams: there is no such file"),
        ("config", "empty", (), CheckpointError, "empty/model.pdparams: there is no such file"),
        ("config", "half.pdparams", (), CheckpointError, "half.pdparams cannot be read"),
        ("plain_config", "model", (), UsageError, "does not belong to this model: .* tensors are missing"),
        ("config", "model", ["model.type=PointRentSeg"], UsageError, "did you mean PointRendSeg"),
        ("config", "model", ["model.no_option=1"], UsageError, "model: PointRendSeg: .*no_option"),
        ("config", "model", ["iters"], UsageError, "key=value"),
    ],
)
def test_load_model_names_the_mistake(trained, tmp_path, monkeypatch, config, weights, opts, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "half.pdparams").write_bytes(trained.weights.read_bytes()[:5000])
    with pytest.raises(error, match=message) as caught:
        load_model(getattr(trained, config, config), trained.weights if weights == "model" else weights, opts=opts)
    assert "\n" not in str(caught.value)


def test_load_model_names_the_checkpoints_in_a_trainings_folder(trained, tmp_path):
    for age, name in enumerate(("iter_4", "best_model", "ema_best_model", "iter_2", "no_weights")):
        (tmp_path / name).mkdir()
        file = tmp_path / name / ("ema_model.pdparams" if name.startswith("ema") else "model.pdparams")
        if name != "no_weights":
            file.write_bytes(b"")
            os.utime(file, (1e9 - age, 1e9 - age))
    names = ", ".join(str(tmp_path / name) for name in ("iter_4", "best_model", "ema_best_model", "iter_2"))
    with pytest.raises(CheckpointError) as caught:
        load_model(trained.config, tmp_path)
    assert str(caught.value).endswith(
        f"model.pdparams: there is no such file; folders with weights, newest first: {names}"
    )


def test_load_model_names_another_number_of_classes(trained):
    changes = [f"{place}.num_classes=6" for place in ("train_dataset", "val_dataset", "model", "model.segmentor")]
    with pytest.raises(UsageError, match="it was trained for 4 classes, the model has 6"):
        load_model(trained.config, trained.weights, opts=changes)


def test_a_fault_of_a_constructor_is_no_usage_error(trained, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(PointRendSeg, "__init__", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        load_model(trained.config, trained.weights)


def test_load_model_names_the_mistake_in_a_config_that_paddleseg_read(trained):
    config = Config(str(trained.config))
    del config.dic["model"]
    with pytest.raises(UsageError, match="--config given: model: No model"):
        load_model(config, trained.weights)


def test_train_model_returns_the_folder_of_its_last_checkpoint(trained, tmp_path):
    config = load_config(trained.config, iters=2)
    folder = train_model(config, tmp_path, seed=1)
    assert folder == tmp_path / "iter_2"
    assert_trained(load_model(config, folder), folder / "model.pdparams")
    assert train_model(config, tmp_path, resume_model="auto") == folder  # nothing is left to train
    with pytest.raises(UsageError, match="there is no such folder"):
        train_model(config, tmp_path, resume_model=tmp_path / "iter_9")


def test_attach_pointrend_gives_the_model_that_its_config_describes(trained, tmp_path):
    plain = load_config(trained.plain_config)
    with paddle.utils.unique_name.guard():
        paddle.save(SegBuilder(plain).model.state_dict(), str(tmp_path / "plain.pdparams"))
    attached = attach_pointrend(trained.plain_config, tmp_path / "plain.pdparams", iters=3)
    assert (attached.host, attached.changes["iters"]) == ("SemanticFPN", 3)
    write_config(tmp_path / "sharp.yml", trained.plain_config, attached.changes, "what it is\nfor")
    assert (tmp_path / "sharp.yml").read_text().startswith("# what it is\n# for\n")
    paddle.save(attached.model.state_dict(), str(tmp_path / "model.pdparams"))
    model = load_model(tmp_path / "sharp.yml", tmp_path)
    assert_trained(model, tmp_path / "model.pdparams")
    assert model.freeze_segmentor
