"""`train --resume_model`: which checkpoint it goes on from."""

import re

import paddle
import pytest
from command_line import error_line, losses, needs_the_patched_profiler, run
from paddleseg.cvlibs import Config, SegBuilder
from tiny_instances import write_instance_config

from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg import checkpoints


def resume(trained, save_dir, *arguments):
    arguments = ["--config", trained.config, "--save_dir", save_dir, "--log_iters", 1, *arguments]
    return run("train", *arguments)


@pytest.mark.parametrize("file", ["model.pdparams", "model.pdopt"])
def test_resume_auto_skips_a_half_written_checkpoint(trained, resumable, capsys, file):
    damaged = resumable / "iter_4" / file
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 3) == 0
    output = capsys.readouterr().out
    assert re.search(rf"\[WARNING\]\tSkipped .*iter_4: .*{file} cannot be read", output)
    assert f"Resume model from {resumable / 'iter_2'}" in output
    assert "iter: 3/3" in output
    assert "iter: 2/3" not in output


def test_resume_auto_starts_anew_where_no_checkpoint_is_whole(trained, resumable, capsys):
    (resumable / "iter_4/model.pdopt").unlink()
    paddle.save([1], str(resumable / "iter_2/model.pdparams"))
    (resumable / "iter_x").mkdir()
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 1) == 0
    output = capsys.readouterr().out
    assert re.search(r"Skipped .*iter_4: .*model.pdopt: there is no such file", output)
    assert re.search(r"Skipped .*iter_2: .*holds a list", output)
    assert "no checkpoint to resume" in output
    assert "iter: 1/1" in output


def test_resume_auto_does_not_write_over_another_models_checkpoint(trained, resumable, capsys):
    (resumable / "iter_4/model.pdopt").unlink()
    file = resumable / "iter_2/model.pdparams"
    state = paddle.load(str(file))
    del state["point_head.predictor.bias"]
    paddle.save(state, str(file))
    written = file.read_bytes()
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 2) == 2
    line = error_line(capsys)
    assert re.search(r"iter_2/model.pdparams does not belong to this model: .*point_head.predictor.bias", line)
    assert "another --save_dir" in line
    assert file.read_bytes() == written


def test_resume_takes_the_newest_by_number(trained, resumable):
    (resumable / "iter_4").rename(resumable / "iter_10")
    config = Config(str(trained.config))
    with paddle.utils.unique_name.guard():
        model = SegBuilder(config).model
    assert checkpoints.newest_checkpoint(model, resumable) == resumable / "iter_10"


def test_resume_refuses_an_optimizer_state_of_other_parameters(trained):
    config = Config(str(trained.config))
    with paddle.utils.unique_name.guard("other_"):
        model = SegBuilder(config).model
    with pytest.raises(UsageError, match="it has a state for"):
        checkpoints.check_resumable(model, trained.save_dir / "iter_4")


def spoil_optimizer_state(file, part):
    state = paddle.load(str(file))
    if part == "schedule":
        state["LR_Scheduler"].pop("last_epoch")
    else:
        del state[next(key for key in state if key.endswith("velocity_0"))]
    paddle.save(state, str(file))


@pytest.mark.parametrize("part", ["schedule", "moment"])
@pytest.mark.parametrize("kind", ["labels", "instances"])
def test_resume_refuses_an_incomplete_optimizer_state(kind, part, request, tmp_path, capsys):
    labels = kind == "labels"
    config = request.getfixturevalue("pointrend_config") if labels else write_instance_config(tmp_path)
    arguments = ["train", "--config", config, "--save_dir", tmp_path / "out", "--batch_size", 1]
    assert run(*arguments, "--iters", 1) == 0
    spoil_optimizer_state(tmp_path / "out/iter_1/model.pdopt", part)
    capsys.readouterr()
    assert run(*arguments, "--iters", 2, "--resume_model", "auto") == 2
    assert "iter_1/model.pdopt does not fit this training: " in capsys.readouterr().err.strip().splitlines()[-1]


def test_resume_from_a_folder(trained, resumable, capsys):
    assert resume(trained, resumable, "--resume_model", resumable / "iter_2", "--iters", 3) == 0
    assert len(losses(capsys.readouterr().out)) == 1


def test_resume_of_a_finished_training_does_nothing(trained, resumable, capsys):
    assert resume(trained, resumable, "--resume_model", "auto", "--iters", 4) == 0
    output = capsys.readouterr().out
    assert "nothing to train" in output
    assert losses(output) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("iter_2", "is not a file of weights"), ("iter_7", "no such folder"), ("best_model", "iter_N")],
)
def test_resume_refuses_a_named_folder_that_does_not_do(trained, resumable, capsys, name, message):
    (resumable / "best_model").mkdir()
    (resumable / "iter_2/model.pdparams").write_bytes(b"half")
    capsys.readouterr()
    assert resume(trained, resumable, "--resume_model", resumable / name) == 2
    assert message in error_line(capsys)


@needs_the_patched_profiler
def test_refuses_a_profile_longer_than_what_is_left_to_train(trained, resumable, capsys):
    # Of the 8 iterations the checkpoint has 4.
    arguments = ["--config", trained.config, "--save_dir", resumable, "--resume_model", "auto", "--iters", 8]
    assert run("train", *arguments, "--profiler_options", "batch_range=[1,4]") == 2
    assert "which takes 5 iterations, and the training has 4" in error_line(capsys)
