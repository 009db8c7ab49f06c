import logging

import paddle
import pytest
from tiny_backbone import TinyBackbone

from paddle_pointrend import PointRendSeg, SemanticFPN
from paddle_pointrend.models.weights import CheckpointError, load_pretrained


def small_model(num_classes=3, **options):
    segmentor = SemanticFPN(num_classes, TinyBackbone(), fpn_channels=16, head_channels=16)
    return PointRendSeg(segmentor, {"hidden_channels": 8}, **options)


@pytest.fixture
def saved(tmp_path):
    model = small_model()
    path = str(tmp_path / "model.pdparams")
    paddle.save(model.state_dict(), path)
    return model, path


def equal(tensor, other):
    return bool((tensor == other).all())


def test_pretrained_weights_of_the_whole_model_are_loaded(saved):
    model, path = saved
    loaded = small_model(pretrained=path).state_dict()
    assert all(equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_another_number_of_classes_leaves_what_depends_on_it_random_and_says_so(saved, caplog):
    model, path = saved
    with caplog.at_level(logging.WARNING):
        other = small_model(num_classes=5, pretrained=path)
    changed = {
        "segmentor.head.classifier.weight",
        "segmentor.head.classifier.bias",
        *(f"point_head.layers.{i}.weight" for i in range(3)),
        "point_head.predictor.weight",
        "point_head.predictor.bias",
    }
    state = other.state_dict()
    assert {name for name, tensor in model.state_dict().items() if tensor.shape != state[name].shape} == changed
    assert all(equal(tensor, state[name]) for name, tensor in model.state_dict().items() if name not in changed)
    message = caplog.text
    assert "another number of classes (-2)" in message
    assert all(name in message for name in changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("point_head.predictor.bias"), "1 of .* are missing: point_head.predictor.bias"),
        (lambda state: state.update(extra=paddle.zeros([1])), "layers that the model lacks: extra"),
        (
            lambda state: state.update({"segmentor.fpn.laterals.0.bias": paddle.zeros([7])}),
            r"segmentor.fpn.laterals.0.bias \[7\] instead of \[16\]",
        ),
        (
            lambda state: state.update({"segmentor.fpn.laterals.0.bias": paddle.zeros([16, 1])}),
            r"segmentor.fpn.laterals.0.bias \[16, 1\] instead of \[16\]",
        ),
    ],
    ids=["missing", "extra", "shape", "rank"],
)
def test_weights_of_another_network_are_refused_and_nothing_is_loaded(saved, change, message):
    model, path = saved
    state = dict(model.state_dict())
    change(state)
    paddle.save(state, path)
    other = small_model(num_classes=5 if message.startswith("segmentor") else 3)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(other, path)
    assert all(equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_another_width_everywhere_is_not_another_number_of_classes(tmp_path):
    def network(width):
        layers = paddle.nn.Sequential(paddle.nn.Conv2D(3, width, 1), paddle.nn.Conv2D(width, 2, 1))
        layers.num_classes = 2
        return layers

    paddle.save(network(16).state_dict(), str(tmp_path / "wide.pdparams"))
    with pytest.raises(CheckpointError, match=r"3 tensors have another shape: 0.weight \[16, 3, 1, 1\] instead of \[8"):
        load_pretrained(network(8), str(tmp_path / "wide.pdparams"))


def test_missing_and_broken_files_are_named(saved, tmp_path):
    model, path = saved
    with pytest.raises(CheckpointError, match=r"nowhere\.pdparams: there is no such file"):
        load_pretrained(model, str(tmp_path / "nowhere.pdparams"))
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(CheckpointError, match="may be half-written"):
        load_pretrained(model, path)


def test_url_is_downloaded(saved, monkeypatch):
    model, path = saved
    monkeypatch.setattr("paddle_pointrend.models.weights.fetch_weights", lambda url: path)
    other = small_model(pretrained="https://example.org/model.pdparams")
    assert equal(other.point_head.predictor.weight, model.point_head.predictor.weight)
