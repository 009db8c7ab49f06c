"""No command executes what a file of weights asks for: each refuses it in one line."""

import pickle
import shutil

import pytest
from checkpoint_attacks import pickled_call
from command_line import run


@pytest.fixture
def evil(tmp_path):
    """(a .pdparams file that would create a file when it is unpickled, that file)"""
    marker = tmp_path / "executed"
    path = tmp_path / "evil.pdparams"
    path.write_bytes(pickle.dumps({"w": pickled_call(exec, f"open({str(marker)!r}, 'w').close()")}))
    return path, marker


def assert_refused(capsys, marker):
    lines = capsys.readouterr().err.strip().splitlines()
    assert not marker.exists()
    assert "refused: it asks for builtins.exec, and weights do not need that" in lines[-1], lines
    assert "Traceback" not in lines[-1]


@pytest.mark.parametrize("command", ["val", "predict", "export", "attach"])
def test_model_path(trained, evil, tmp_path, capsys, command):
    path, marker = evil
    more = {"predict": ["--image_path", trained.root / "images/val0.png"], "attach": [tmp_path / "sharp.yml"]}
    config = trained.config
    if command == "attach":  # onto a model that is no PointRendSeg yet
        config = tmp_path / "plain.yml"
        text = trained.config.read_text()
        segmentor = text[text.index("  segmentor:\n") + len("  segmentor:\n") :]
        lines = [line[2:] for line in segmentor.splitlines()]
        loss = "loss:\n  types: [{type: CrossEntropyLoss}]\n  coef: [1]\n"
        config.write_text(text[: text.index("loss:")] + loss + "model:\n" + "\n".join(lines) + "\n")
    arguments = ["--config", config, "--model_path", path, *more.get(command, [])]
    assert run(command, *arguments) == 2
    assert_refused(capsys, marker)


@pytest.mark.parametrize(
    "place", ["model.pretrained", "model.segmentor.pretrained", "model.segmentor.backbone.pretrained"]
)
def test_pretrained(trained, evil, tmp_path, capsys, place):
    path, marker = evil
    arguments = ["--config", trained.config, "--save_dir", tmp_path / "out", "--opts", f"{place}={path}"]
    assert run("train", *arguments) == 2
    assert_refused(capsys, marker)


@pytest.mark.parametrize("name", ["model.pdparams", "model.pdopt"])
def test_resume(trained, evil, tmp_path, capsys, name):
    path, marker = evil
    folder = shutil.copytree(trained.weights.parent, tmp_path / "out" / trained.weights.parent.name)
    shutil.copy(path, folder / name)
    arguments = ["--config", trained.config, "--save_dir", tmp_path / "out", "--iters", 99, "--resume_model"]
    for resume in ("auto", folder):
        assert run("train", *arguments, resume) == 2
        assert_refused(capsys, marker)
