"""PointRendSeg as PaddleSeg's YAML builds it, and its names in checkpoints."""

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import Config, SegBuilder, manager
from paddleseg.models import backbones
from tiny_pointrend import small_model, spread_predictor

from paddle_pointrend import (
    PointRendSeg,
    PointSampledCrossEntropyLoss,
    SemanticFPN,
)

MODEL_YAML = """\
batch_size: 1
iters: 1
train_dataset:
  type: {dataset}
  dataset_root: data
  train_path: data/train.txt
  num_classes: 19
  mode: train
  transforms: [{{type: Normalize}}]
optimizer: {{type: SGD}}
lr_scheduler: {{type: PolynomialDecay, learning_rate: 0.01}}
loss:
  types:
    - {{type: CrossEntropyLoss}}
    - {{type: PointSampledCrossEntropyLoss, ignore_index: 255}}
  coef: [1, 1]
model:
  type: PointRendSeg
  num_classes: 19
  num_train_points: 64
  num_subdivision_points: [100, 200, 300]
  point_head: {{hidden_channels: 16, num_layers: 2, coarse_in_every_layer: false}}
  segmentor:
    type: SemanticFPN
    num_classes: {segmentor_classes}
    backbone: {{type: ResNet18_vd, output_stride: 32}}
    head_levels: [1, 2, 3]
    fpn_channels: 16
    head_channels: 32
    norm: GN
"""


def builder(path, **values):
    path.write_text(MODEL_YAML.format(**{"dataset": "Cityscapes", "segmentor_classes": 19, **values}))
    return SegBuilder(Config(str(path)))


class TestHost:
    def test_names_are_registered(self):
        assert manager.MODELS["PointRendSeg"] is PointRendSeg
        assert manager.MODELS["SemanticFPN"] is SemanticFPN

    @pytest.mark.parametrize("dataset", ["Dataset", "Cityscapes"])  # for the latter the host adds in_channels
    def test_builds_from_yaml(self, tmp_path, dataset):
        built = builder(tmp_path / "model.yml", dataset=dataset)
        model = built.model
        assert isinstance(model, PointRendSeg)
        assert isinstance(model.segmentor.backbone, backbones.resnet_vd.ResNet_vd)
        assert model.segmentor.coarse_stride == 8
        assert model.num_subdivision_points == [100, 200, 300]
        assert len(model.point_head.layers) == 2
        assert not model.point_head.coarse_in_every_layer
        assert isinstance(built.loss["types"][1], PointSampledCrossEntropyLoss)
        outputs = model(paddle.randn([2, 3, 64, 64]))
        assert list(outputs[1][0].shape) == [2, 19, 64]

    def test_class_counts_that_differ_are_refused(self, tmp_path):
        with pytest.raises(RuntimeError, match="num_classes is 19 for PointRendSeg and 7 for its segmentor"):
            _ = builder(tmp_path / "model.yml", segmentor_classes=7).model

    def test_save_and_load(self, tmp_path):
        images = paddle.randn([1, 3, 40, 56])
        model, other = spread_predictor(small_model(4)), small_model(4)
        path = str(tmp_path / "model.pdparams")
        paddle.save(model.state_dict(), path)
        missing, unexpected = other.set_state_dict(paddle.load(path))
        assert (missing, unexpected) == ([], [])
        model.eval()
        other.eval()
        np.testing.assert_array_equal(model(images)[0].numpy(), other(images)[0].numpy())

    def test_parameters_keep_the_names_that_checkpoints_use(self):
        prefixes = {name.split(".weight")[0] for name in small_model().state_dict() if name.endswith(".weight")}
        assert {
            "segmentor.backbone.stem",
            "segmentor.fpn.laterals.3",
            "segmentor.fpn.outputs.0",
            "segmentor.head.branches.3.8",
            "segmentor.head.classifier",
            "point_head.layers.2",
            "point_head.predictor",
        } <= prefixes
