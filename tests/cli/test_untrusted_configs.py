"""No config executes anything or is followed without an end: each is refused in one line, with exit code 2."""

import pathlib
import re

import paddleseg
import pytest
from command_line import error_line, run

from paddle_pointrend.paddleseg.loading import _EVALUATING_MODULES


def refused(capsys, *arguments):
    assert run(*arguments) == 2
    return error_line(capsys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_base_: a.yml", "its _base_ leads back to itself"),
        ("_base_: b.yml", "its _base_ leads back to itself"),
        ("_base_: none.yml", "none.yml, which its _base_ names"),
        ("_base_: {a: 1}", "expected a file or a list of files"),
        ("_base_: [3]", "expected a file or a list of files"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("- 1", "expected lines `name: value`, got list"),
    ],
)
def test_configs(tmp_path, capsys, text, words):
    (tmp_path / "a.yml").write_text(text)
    (tmp_path / "b.yml").write_text("_base_: a.yml")
    for command in ("train", "val"):
        more = ["--model_path", tmp_path] if command == "val" else ["--save_dir", tmp_path / "out"]
        assert words in refused(capsys, command, "--config", tmp_path / "a.yml", *more)
    assert not (tmp_path / "out").exists()


def test_bases_that_double_are_refused(tmp_path, capsys):
    for i in range(40):
        (tmp_path / f"{i}.yml").write_text(f"_base_: [{i + 1}.yml, {i + 1}.yml]")
    (tmp_path / "40.yml").write_text("iters: 1")
    line = refused(capsys, "train", "--config", tmp_path / "0.yml", "--save_dir", tmp_path / "out")
    assert "too many _base_" in line


@pytest.mark.parametrize("code", ["__class__, open({marker!r}, 'w')", "nn.Layer if open({marker!r}, 'w') else 0"])
def test_a_text_of_the_config_is_not_evaluated(pointrend_config, tmp_path, capsys, code):
    marker = tmp_path / "executed"
    text = pointrend_config.read_text()
    text = text[: text.index("loss:")] + "loss: {types: [{type: CrossEntropyLoss}], coef: [1]}\n"
    code = code.format(marker=str(marker))
    text += f'model: {{type: FCN, num_classes: 4, backbone: {{type: ViT_small_patch16_224, norm_layer: "{code}"}}}}\n'
    pointrend_config.write_text(text)
    line = refused(capsys, "train", "--config", pointrend_config, "--save_dir", tmp_path / "out")
    assert "is no layer that paddleseg.models." in line
    assert not marker.exists()


def test_paddleseg_evaluates_nowhere_else():
    package = pathlib.Path(paddleseg.__file__).parent
    found = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
        if re.search(r"(?<![\w.])(eval|exec)\(", re.sub(r"def eval|#.*", "", path.read_text(encoding="utf-8")))
    }
    assert found - {"paddleseg.models.layers.activation"} == set(
        _EVALUATING_MODULES
    )  # that one looks its text up first


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("{type: CrossEntropyLoss, weight: dynamic}", "write a number for each class, weight: [1.0, 2.0, ...]"),
        ("{type: FocalLoss, num_classes: 4}", "write type: MultiClassFocalLoss, num_class: 4"),
        ("{type: MixedLoss, losses: [{type: FocalLoss, num_classes: 2}], coef: [1]}", "FocalLoss takes no num_classes"),
    ],
)
def test_losses_of_older_configs_say_what_to_write(pointrend_config, tmp_path, capsys, loss, words):
    text = pointrend_config.read_text()
    pointrend_config.write_text(text.replace("- type: CrossEntropyLoss", f"- {loss}"))
    assert words in refused(capsys, "train", "--config", pointrend_config, "--save_dir", tmp_path / "out")
