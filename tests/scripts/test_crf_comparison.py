"""scripts/crf_comparison.py on a tiny trained network."""

import re

import paddle
import pytest

pytest.importorskip("pydensecrf")

import crf_comparison
from measuring.tables import percent
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend import evaluate
from paddle_pointrend.inference import DenseCRF


def test_it_measures_what_val_does_and_the_crfs_beside_it(trained, varied_weights, capsys, monkeypatch):
    monkeypatch.setattr(crf_comparison, "GRID", {"appearance_weight": (0.5, 5)})
    arguments = ["--config", str(trained.config), "--model_path", str(varied_weights), "--tune", "1"]
    assert crf_comparison.main(arguments) == 0
    out = capsys.readouterr().out
    assert "pointrend, 3 images" in out
    rows = {
        cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in out.splitlines() if "(" in line)
    }
    expected = evaluate(trained.config, varied_weights, progress=False)
    for way, prediction in (("coarse", "coarse"), ("PointRend", "refined")):
        assert rows[way][:3] == [percent(expected[prediction][key]) for key in ("acc", "miou", "boundary_iou")]
        assert re.fullmatch(r"\d+ \(\d+ to \d+\)", rows[way][3])
        assert {f"{way}, CRF", f"{way}, best CRF"} <= rows.keys()
    assert rows["coarse, CRF"] != rows["coarse"]


def test_the_grid_reaches_from_hardly_any_crf_to_deeplabs():
    default = DenseCRF()
    assert 0 in crf_comparison.GRID["smoothness_weight"] and 0.5 in crf_comparison.GRID["appearance_weight"]
    for name in ("smoothness_weight", "appearance_weight", "appearance_colors"):
        assert getattr(default, name) in crf_comparison.GRID[name]


def test_images_are_chosen_evenly():
    assert crf_comparison.evenly(101, 3) == [0, 50, 100]
    assert crf_comparison.evenly(3, 10**9) == [0, 1, 2]


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        ("config", "nothing.pdparams", "nothing.pdparams: there is no such file"),
        ("plain_config", "plain.pdparams", "the model is a SemanticFPN, expected a PointRendSeg"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, monkeypatch, capsys, config, weights, message):
    monkeypatch.chdir(tmp_path)
    paddle.save(SegBuilder(Config(str(trained.plain_config))).model.state_dict(), "plain.pdparams")
    with pytest.raises(SystemExit) as exit_info:
        crf_comparison.main(["--config", str(getattr(trained, config)), "--model_path", weights])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
