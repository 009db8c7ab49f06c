"""scripts/graph_networks.py."""

import graph_networks
import numpy as np
import paddle
from paddle import nn


def test_the_backbone_makes_resnets_shapes_without_parameters():
    backbone = graph_networks.ResNet50Shapes()
    maps = backbone(paddle.zeros([2, 3, 33, 64]))
    assert [tuple(m.shape) for m in maps] == [(2, 256, 9, 16), (2, 512, 5, 8), (2, 1024, 5, 8), (2, 2048, 5, 8)]
    assert backbone(paddle.zeros([2, 3, 33, 64])) is maps
    assert graph_networks.millions_of_parameters(backbone) == 0


def test_parameters_are_counted_without_auxiliary_heads_and_batch_statistics():
    class Network(nn.Layer):
        def __init__(self):
            super().__init__()
            self.head, self.auxlayer = nn.Conv2D(4, 5, 3), nn.Linear(7, 7)
            self.norm = nn.BatchNorm2D(5)

    assert np.isclose(graph_networks.millions_of_parameters(Network()), (4 * 5 * 9 + 5 + 10) / 1e6)


def test_table(capsys):
    graph_networks.main(["--size", "32x32", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[-3:]] == ["| GCUNet", "| GloRe", "| GINet"]
    assert "1.000 (1.000 to 1.000)" in lines[-3]
