"""scripts/specks.py: counts against maps drawn by hand, scores against val's."""

import numpy as np
import pytest
import specks
from measuring.tables import percent

from paddle_pointrend import evaluate


@pytest.mark.parametrize(
    ("piece", "truth_of_piece", "expected"),
    [
        (np.s_[2:4, 2:4], 0, 1),
        (np.s_[2:4, 2:4], 1, 0),  # right
        (np.s_[2:4, 2:4], 255, 0),  # ignored
        (np.s_[2:10, 2:10], 0, 0),  # 64 pixels
        (np.s_[2:10, 2:9], 0, 1),
    ],
)
def test_a_speck_is_small_and_wrong(piece, truth_of_piece, expected):
    labels = np.zeros((20, 20), np.int64)
    labels[piece] = 1
    truth = np.zeros((20, 20), np.int64)
    truth[piece] = truth_of_piece
    assert specks.count_specks(labels, truth)[0] == expected


def test_half_right_is_no_speck_and_corners_touch():
    truth, labels = np.zeros((2, 20, 20), np.int64)
    labels[2, 2:6] = 1
    truth[2, 2:4] = 1
    assert specks.count_specks(labels, truth)[0] == 0
    labels[10, 10] = labels[11, 11] = labels[15, 15] = 2
    assert specks.count_specks(labels, truth)[0] == 2


@pytest.mark.parametrize(("column", "stray"), [(15, 0), (16, 1)])
def test_a_speck_is_stray_more_than_6_pixels_from_an_edge(column, stray):
    truth, labels = np.zeros((2, 30, 30), np.int64)
    truth[:, :10] = labels[:, :10] = 1
    labels[4, column] = 2  # column 9 is the nearest of class 1
    assert specks.count_specks(labels, truth).tolist() == [1, stray]


def test_it_measures_what_val_does(trained, varied_weights, capsys):
    assert specks.main(["--config", str(trained.config), "--model_path", str(varied_weights)]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[-2:]]
    expected = evaluate(trained.config, varied_weights, progress=False)
    for name, count, stray, *scores in rows:
        assert scores == [percent(expected[name][key]) for key in ("miou", "boundary_iou")]
        assert float(count) >= float(stray) >= 0
