"""scripts/ablations.py on a tiny trained network."""

import json

import ablations
import numpy as np
import paddle
import pytest
from ablating import training
from measuring.tables import SCORES
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend import PointHead, evaluate, load_model


@pytest.fixture
def model(trained, varied_weights):
    return load_model(trained.config, varied_weights)


@pytest.fixture
def images(trained, model):
    dataset = SegBuilder(Config(str(trained.config))).val_dataset
    with paddle.no_grad():
        return training.store(model, dataset, range(len(dataset)))


def test_stored_maps_are_measured_as_val_measures_the_model(trained, varied_weights, model, images):
    expected = evaluate(trained.config, varied_weights, progress=False)
    for points, prediction in (([], "coarse"), (model.num_subdivision_points, "refined")):
        assert ablations.measure(model, images, points) == pytest.approx(
            {key: expected[prediction][key] for key in SCORES}, abs=1e-9
        )


def test_doubling_before_the_only_step(model, images):
    every_pixel = ablations.measure(model, images, [10**9] * len(model.num_subdivision_points))
    last_step = ablations.measure(model, images, [10**9], doubled_before=len(model.num_subdivision_points) - 1)
    assert last_step == pytest.approx(every_pixel, abs=1e-9)


def test_regular_grid():
    points = training.regular_grid(paddle.zeros([3, 2, 4, 4])).numpy()
    assert points.shape == (3, 45 * 45, 2)
    np.testing.assert_allclose(np.unique(points[1, :, 0]), (np.arange(45) + 0.5) / 45, rtol=1e-6)
    assert len(np.unique(points[2], axis=0)) == 45 * 45


@pytest.mark.parametrize("name", training.TRAININGS)
def test_points_lie_on_the_image(name):
    points = training.TRAININGS[name].select(paddle.randn([2, 3, 8, 8])).numpy()
    assert len(points) == 2 and points.shape[1] in (2025, 2048)
    assert points.min() >= 0 and points.max() < 1


def test_what_a_head_does_not_read_is_zero(model, images):
    coarse, fine, _ = images[0]
    for name, zeros in (("fine features alone", (True, False)), ("coarse logits alone", (False, True))):
        read_coarse, read_fine = training.read_maps(training.TRAININGS[name], coarse, fine)
        assert (float(read_coarse.abs().max()) == 0, float(read_fine[0].abs().max()) == 0) == zeros


def test_training_starts_afresh_repeats_and_leaves_the_network_alone(model, images):
    before = {name: tensor.numpy().copy() for name, tensor in model.segmentor.state_dict().items()}
    heads = []
    for iters in (1, 30, 30):
        training.train_head(model, images, training.TRAININGS[training.MILDLY_BIASED], iters, seed=5)
        heads.append({name: tensor.numpy() for name, tensor in model.point_head.state_dict().items()})
    fresh, trained_once, trained_twice = heads
    assert any(np.abs(fresh[name] - trained_once[name]).max() > 0.01 for name in fresh)
    for name in trained_once:
        np.testing.assert_array_equal(trained_once[name], trained_twice[name])
    for name, tensor in model.segmentor.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    assert isinstance(model.point_head, PointHead)


def test_command(trained, varied_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablations, "POINTS", (16, 32, 10**9))
    arguments = ["--config", str(trained.config), "--model_path", str(varied_weights), "--save_dir", str(tmp_path)]
    assert ablations.main([*arguments, "--iters", "2", "--val_images", "2"]) == 0
    report = json.loads((tmp_path / "RESULTS.json").read_text())
    assert list(report["trainings"]) == list(training.TRAININGS)
    assert all(len(scores) == 2 for scores in report["trainings"].values())
    rows = {"coarse map, no points", "16 points a step", "every pixel", "8192 points in the last step alone"}
    assert rows <= report["inference"].keys()
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")
    assert "| every pixel |" in capsys.readouterr().out


def test_without_seeds_the_models_own_head_is_measured(trained, varied_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "POINTS", (16, 32, 10**9))
    arguments = ["--config", str(trained.config), "--model_path", str(varied_weights), "--save_dir", str(tmp_path)]
    assert ablations.main([*arguments, "--seeds"]) == 0
    report = json.loads((tmp_path / "RESULTS.json").read_text())
    expected = evaluate(trained.config, varied_weights, progress=False)["coarse"]
    assert report["trainings"] == {}
    assert report["inference"]["coarse map, no points"][0]["miou"] == pytest.approx(expected["miou"], abs=1e-9)


def test_a_model_without_points_is_refused(trained, tmp_path, capsys):
    weights = tmp_path / "plain.pdparams"
    paddle.save(SegBuilder(Config(str(trained.plain_config))).model.state_dict(), str(weights))
    with pytest.raises(SystemExit) as exit_info:
        ablations.main(["--config", str(trained.plain_config), "--model_path", str(weights)])
    assert exit_info.value.code == 2
    assert "SemanticFPN, expected a PointRendSeg" in capsys.readouterr().err
