"""What the trainer saves: best_model over a resume, an earlier run in the same folder, whole files."""

import json
import pathlib

import paddle
import pytest

from paddle_pointrend.cli import main
from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg import saving
from paddle_pointrend.paddleseg.saving import safe_saving, set_earlier_run_aside


@pytest.fixture
def scored(monkeypatch):
    """Training with given mIoUs in the place of evaluations, one a checkpoint: scored(config, save_dir, mIoUs, ...)."""

    def train(config, save_dir, mious, *arguments):
        left = list(mious)
        trainer = saving.importlib.import_module("paddleseg.core.train")
        monkeypatch.setattr(trainer, "evaluate", lambda *args, **kwargs: (left.pop(0), 0.5, None, None, None))
        command = ["train", "--config", config, "--save_dir", save_dir, "--do_eval", "--save_interval", 1, *arguments]
        assert main([str(argument) for argument in command]) == 0
        assert not left

    return train


def weights(file):
    return {key: tensor.numpy().tobytes() for key, tensor in paddle.load(str(file)).items()}


def test_a_better_best_model_stays_over_a_resume(pointrend_config, tmp_path, scored):
    save_dir = tmp_path / "out"
    scored(pointrend_config, save_dir, [0.86, 0.3], "--iters", 2)
    best = weights(save_dir / "best_model/model.pdparams")
    scored(pointrend_config, save_dir, [0.26, 0.5], "--iters", 4, "--resume_model", "auto")
    assert weights(save_dir / "best_model/model.pdparams") == best
    assert json.loads((save_dir / "best_model/score.json").read_text()) == {"miou": 0.86}
    scored(pointrend_config, save_dir, [0.87], "--iters", 5, "--resume_model", "auto")
    assert weights(save_dir / "best_model/model.pdparams") == weights(save_dir / "iter_5/model.pdparams")
    assert json.loads((save_dir / "best_model/score.json").read_text()) == {"miou": 0.87}


def test_the_moving_averages_best_model_too(pointrend_config, tmp_path, scored, capsys):
    save_dir = tmp_path / "out"
    scored(pointrend_config, save_dir, [0.5, 0.9], "--iters", 1, "--use_ema")
    average = weights(save_dir / "ema_best_model/ema_model.pdparams")
    scored(pointrend_config, save_dir, [0.6, 0.8], "--iters", 2, "--use_ema", "--resume_model", "auto")
    assert weights(save_dir / "ema_best_model/ema_model.pdparams") == average
    assert json.loads((save_dir / "best_model/score.json").read_text()) == {"miou": 0.6}
    arguments = ["val", "--config", str(pointrend_config), "--model_path", str(save_dir / "ema_best_model")]
    assert main(arguments) == 0
    assert "ema_model.pdparams" in capsys.readouterr().out


def test_a_new_run_does_not_take_an_earlier_ones_checkpoints(pointrend_config, tmp_path, scored, capsys):
    save_dir = tmp_path / "out"
    scored(pointrend_config, save_dir, [0.9, 0.8], "--iters", 2)
    before = weights(save_dir / "best_model/model.pdparams")
    scored(pointrend_config, save_dir, [0.1], "--iters", 1, "--seed", 5)
    assert "held the checkpoints of an earlier run" in capsys.readouterr().out
    assert weights(save_dir / "earlier_run_1/best_model/model.pdparams") == before
    assert sorted(path.name for path in save_dir.iterdir()) == ["best_model", "earlier_run_1", "iter_1"]
    scored(pointrend_config, save_dir, [0.2], "--iters", 1, "--seed", 6)
    assert (save_dir / "earlier_run_2/iter_1").is_dir()
    assert set_earlier_run_aside(tmp_path / "empty") is None


def test_a_file_that_is_being_written_is_not_half_there(tmp_path, monkeypatch):
    target = tmp_path / "iter_1" / "model.pdparams"
    save = paddle.save
    with safe_saving(tmp_path, resumes=False):
        paddle.save({"a": paddle.ones([2])}, str(target))
    assert paddle.save is save

    def fail(obj, path, *args, **kwargs):
        pathlib.Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paddle, "save", fail)
    with safe_saving(tmp_path, resumes=True), pytest.raises(UsageError, match="No space left"):
        paddle.save({"a": paddle.zeros([2])}, str(target))
    assert [path.name for path in target.parent.iterdir()] == ["model.pdparams"]
    assert float(paddle.load(str(target))["a"].sum()) == 2
