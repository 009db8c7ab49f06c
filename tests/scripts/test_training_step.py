"""The maintainers' tools that time things: what they call, in what order, and what they make of it."""

import re

import numpy as np
import paddle
import pytest
import training_step
from conftest import TINY_CLASSES
from measuring import timing
from paddleseg.cvlibs import Config

from paddle_pointrend import PointRendSeg, SemanticFPN
from paddle_pointrend.errors import UsageError


def test_alternate_calls_each_in_turn_and_leaves_the_warmup_out(monkeypatch):
    clock, calls = [0.0], []

    def work(name, seconds):
        def run():
            calls.append(name)
            clock[0] += seconds if len(calls) > 4 else 100.0  # the first two rounds are slow

        return run

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    seconds = timing.alternate([work("a", 1.0), work("b", 3.0)], rounds=3, warmup=2)
    assert calls == ["a", "b"] * 5
    assert seconds.shape == (3, 2)
    assert np.allclose(seconds, [[1.0, 3.0]] * 3)


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 1), (1, -1)])
def test_alternate_refuses_rounds_that_time_nothing(rounds, warmup):
    with pytest.raises(ValueError, match=f"got {rounds} and {warmup}"):
        timing.alternate([int], rounds, warmup)


def test_quartiles():
    assert timing.quartiles([4, 1, 3, 2, 5]) == "3.000 (2.000 to 4.000)"


def test_a_step_trains(pointrend_config):
    paddle.seed(0)
    images = paddle.randn([2, 3, 64, 64])
    labels = (images[:, 0] > 0).astype("int64")
    step = training_step.step_of(Config(str(pointrend_config)), str(pointrend_config))
    losses = [step(images, labels) for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_segmentor_alone_is_the_configs(pointrend_config):
    config = training_step.segmentor_alone(Config(str(pointrend_config)))
    assert config.dic["model"]["type"] == "SemanticFPN"
    assert [loss["type"] for loss in config.dic["loss"]["types"]] == ["CrossEntropyLoss"]
    assert config.dic["loss"]["coef"] == [1]


def test_measures_both_networks(pointrend_config, monkeypatch):
    seen = []
    for cls in (SemanticFPN, PointRendSeg):
        forward = cls.forward

        def spy(self, x, forward=forward):
            seen.append((type(self).__name__, x.shape, self.training))
            return forward(self, x)

        monkeypatch.setattr(cls, "forward", spy)
    seconds = training_step.measure(str(pointrend_config), (64, 96), 2, 3)
    assert seconds.shape == (3, 2)
    assert (seconds > 0).all()
    images = [2, 3, 64, 96]
    assert seen == [("SemanticFPN", images, True), ("PointRendSeg", images, True)] * 4


def test_prints_medians_and_ratio(pointrend_config, capsys):
    arguments = ["--config", str(pointrend_config), "--size", "64", "64", "--batch_size", "2", "--rounds", "2"]
    training_step.main([*arguments, "--opts", f"model.num_classes={TINY_CLASSES}"])
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert f"{pointrend_config}: batch 2 of 64x64, 2 rounds, cpu" in lines[0]
    alone, both, ratio = (float(re.search(r": +([\d.]+) \(", line)[1]) for line in lines[1:])
    assert min(alone, both, ratio) > 0


@pytest.mark.parametrize("options", [{"freeze_segmentor": True}, None])
def test_refuses_a_config_whose_segmentor_is_not_trained(pointrend_config, semantic_fpn_config, options):
    config = Config(str(pointrend_config if options else semantic_fpn_config))
    config.dic["model"] |= options or {}
    with pytest.raises(UsageError, match="config of PointRendSeg that trains its segmentor too"):
        training_step.segmentor_alone(config)
