"""A backbone small enough for NumPy: strides 4, 8, 16, 32, odd sizes rounded up as PaddleSeg's are."""

import paddle.nn.functional as F
from paddle import nn


class TinyBackbone(nn.Layer):
    def __init__(self, channels=(3, 4, 5, 6)):
        super().__init__()
        self.feat_channels = list(channels)
        self.stem = nn.Conv2D(3, channels[0], 3, stride=2, padding=1)
        inputs = [channels[0], *channels[:-1]]
        self.stages = nn.LayerList(nn.Conv2D(i, o, 3, stride=2, padding=1) for i, o in zip(inputs, channels))

    def forward(self, x):
        x = F.relu(self.stem(x))
        maps = []
        for stage in self.stages:
            x = F.relu(stage(x))
            maps.append(x)
        return maps
