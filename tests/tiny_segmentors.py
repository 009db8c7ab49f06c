"""Small segmentation models that know nothing of PointRend."""

import paddle
import paddle.nn.functional as F
from paddle import nn
from tiny_backbone import TinyBackbone


class TinySegmentor(nn.Layer):
    """Logits at stride 4 and auxiliary ones at stride 8, both upsampled; the auxiliary ones in training only."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.backbone = TinyBackbone()
        self.norm = nn.BatchNorm2D(3)
        self.head, self.auxiliary = nn.Conv2D(3, num_classes, 1), nn.Conv2D(4, num_classes, 1)

    def forward(self, x):
        maps = self.backbone(x)
        logits = [self.head(self.norm(maps[0]))]
        if self.training:
            logits.append(self.auxiliary(maps[1]))
        return [F.interpolate(one, size=x.shape[2:], mode="bilinear", align_corners=False) for one in logits]


class FullSizeSegmentor(nn.Layer):
    """Logits at full size, as UNet's."""

    def __init__(self):
        super().__init__()
        self.first, self.down, self.head = nn.Conv2D(3, 4, 3, padding=1), nn.Conv2D(4, 4, 2, 2), nn.Conv2D(8, 3, 1)

    def forward(self, x):
        fine = self.first(x)
        return [self.head(paddle.concat([fine, F.interpolate(self.down(fine), size=x.shape[2:])], axis=1))]
