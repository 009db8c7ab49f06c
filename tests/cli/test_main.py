"""The command line itself: arguments, mistakes in them, help."""

import re

import paddle
import pytest
from command_line import error_line, run

import paddle_pointrend
from paddle_pointrend.cli import main


def test_log_names_what_was_set_before_paddle(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paddle_pointrend, "ENVIRONMENT_SET", ["OMP_NUM_THREADS=7", "MKL_DEBUG_CPU_TYPE=5"])
    run("val", "--config", trained.config, "--model_path", trained.weights)
    lines = [line for line in capsys.readouterr().out.splitlines() if "before Paddle" in line]
    assert len(lines) == 1
    assert lines[0].endswith("OMP_NUM_THREADS=7 MKL_DEBUG_CPU_TYPE=5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "none.yml"], "none.yml: there is no such file"),
        (["train", "--config", "{config}", "--opts", "iters"], "key=value"),
        (["train", "--config", "{config}", "--opts", "none.a=1"], "none.a"),
        (["train", "--config", "{config}", "--opts", "iters.a=1"], "error"),
        (["train", "--config", "{config}", "--save_dir", "{config}"], "cannot make this folder"),
        (["train", "--config", "{config}", "--opts", "batch_size=0"], "batch_size is 0"),
        (["train", "--config", "{config}", "--opts", "batch_size=x"], "batch_size is 'x', expected an integer"),
        (["train", "--config", "{config}", "--opts", "iters=0"], "iters is 0, expected an integer of at least 1"),
        (["val", "{trained}", "--opts", "iters=1.5"], "iters is 1.5"),
        (["train", "--config", "{config}", "--seed", "-1"], "--seed: must be at least 0"),
        (["train", "--config", "{config}", "--seed", "4294967296"], "--seed: must be at most"),
        (["train", "--config", "{config}", "--num_workers", "-1"], "--num_workers: must be at least 0"),
        (["demo", "--seed", "-1"], "--seed: must be at least 0"),
        (["demo", "--save_dir", "{config}"], "cannot make this folder"),
        (["val", "{trained}", "--num_workers", "-1"], "--num_workers: must be at least 0"),
        (["val", "{trained}", "--json", "/dev/null"], "not a regular file"),
        (["predict", "{trained}", "--image_path", "{image}", "--save_dir", "{config}"], "cannot make this folder"),
        (["train", "--config", "{config}", "--iters", "0"], "must be at least 1"),
        (["train", "--config", "{config}", "--iters", "many"], "--iters"),
        (["train", "--config", "{config}", "--device", "tpu"], "--device"),
        (["train", "--config", "{config}", "--device", "npu"], "--device npu"),
        (["train"], "--config"),
        (["train", "--config", "{config}", "--learning", "1"], "--learning"),
        (["trian"], "trian"),
        (["val", "--config", "{config}"], "--model_path is missing"),
        (["val", "--config", "{config}", "--model_path", "none.pdparams"], "none.pdparams: there is no such"),
        (["val", "--config", "{config}", "--model_path", "{root}/exported"], "exported folder, which predict takes"),
        (["val", "{trained}", "--is_slide"], "--crop_size"),
        (["val", "{trained}", "--is_slide", "--crop_size", "8", "8", "--stride", "9", "8"], "gaps"),
        (["val", "{trained}", "--aug_eval", "--scales", "0"], "--scales"),
        (["val", "{trained}", "--json", "{root}"], "--json"),
        (["val", "{trained}", "--json", "{config}/m.json"], "--json"),
        (["val", "{trained}", "--opts", "val_dataset.val_path=none.txt"], "none.txt"),
        (["predict", "--config", "{config}", "--image_path", "{root}"], "--model_path is missing"),
        (["predict", "{trained}"], "--image_path"),
        (["predict", "{trained}", "--image_path", "none.png"], "none.png: there is no such file"),
        (["predict", "{trained}", "--image_path", "{root}/empty"], "no images"),
        (["predict", "{trained}", "--image_path", "{weights}"], "neither an image"),
        (["predict", "{trained}", "--image_path", "{root}", "--custom_color", "1", "2"], "three numbers"),
    ],
)
def test_refuses_mistaken_arguments_in_one_line(trained, capsys, arguments, message):
    for folder in ("empty", "exported"):
        (trained.root / folder).mkdir(exist_ok=True)
    (trained.root / "exported/deploy.yaml").touch()
    image = trained.root / "images/val0.png"
    names = {"config": trained.config, "image": image, "root": trained.root, "weights": trained.weights}
    weights = ["--config", str(trained.config), "--model_path", str(trained.weights)]
    expanded = [a for arg in arguments for a in (weights if arg == "{trained}" else [arg.format(**names)])]
    assert main(expanded) == 2
    assert message in error_line(capsys)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this Paddle has GPUs")
def test_refuses_a_gpu_that_is_not_there(trained, capsys):
    assert run("val", "--config", trained.config, "--device", "gpu") == 2
    assert "--device gpu" in error_line(capsys)


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert "predict" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert paddle_pointrend.__version__ in capsys.readouterr().out
    assert main([]) == 2
    assert "train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "train",
            "config device save_dir num_workers do_eval use_vdl use_ema resume_model iters batch_size "
            "learning_rate save_interval log_iters keep_checkpoint_max seed precision amp_level "
            "profiler_options repeats opts to_static_training",
        ),
        (
            "val",
            "config model_path num_workers device aug_eval scales flip_horizontal flip_vertical is_slide "
            "crop_size stride opts json",
        ),
        (
            "predict",
            "config model_path image_path save_dir device aug_pred scales flip_horizontal flip_vertical "
            "is_slide crop_size stride custom_color opts runtime",
        ),
    ],
)
def test_flags_are_named_as_in_paddleseg(capsys, command, flags):
    assert main([command, "--help"]) == 0
    listed = set(re.findall(r"--(\w+)", capsys.readouterr().out))
    assert set(flags.split()) <= listed
