"""Configs of a data set that `prepare` wrote: its data, a coarse network on it, and PointRend on that network."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import yaml

_SIDES = (64, 256)  # of training crops, in pixels; a crop is no larger than most images

_DATASET = """\
# Data and training recipe of {root}. Training crops of {side} pixels and {iters} iterations suit a CPU and some hundred
# images; with a GPU take larger crops and batches, and more iterations.

batch_size: 4
iters: {iters}
class_names: {names}

train_dataset:
  type: Dataset
  dataset_root: {root_value}
  train_path: {train_value}
  num_classes: {num_classes}
  mode: train
  transforms:
    - type: RandomPaddingCrop
      crop_size: [{side}, {side}]
    - type: RandomHorizontalFlip
    - type: Normalize

val_dataset:
  type: Dataset
  dataset_root: {root_value}
  val_path: {val_value}
  num_classes: {num_classes}
  mode: val
  transforms:
    - type: Normalize

optimizer:
  type: AdamW             # from scratch and in few iterations it learns much faster than SGD
  weight_decay: 0.01

lr_scheduler:
  type: PolynomialDecay
  learning_rate: 0.001
  end_lr: 0.00001
  power: 0.9
  warmup_iters: 50
  warmup_start_lr: 0.0001
"""

_COARSE = """\
# SemanticFPN with ResNet-18 from scratch, a map at stride 8: the network that PointRend can be put on afterwards.
#   paddle-pointrend train --config {root}/semantic_fpn.yml --save_dir output/semantic_fpn --do_eval --seed 1

_base_: dataset.yml

model:
  type: SemanticFPN
  num_classes: {num_classes}
  backbone:
    type: ResNet18_vd
    output_stride: 32
  backbone_indices: [1, 2, 3]
  fpn_channels: 64
  head_channels: 64

loss:
  types:
    - type: CrossEntropyLoss
  coef: [1]
"""

_POINTREND = """\
# The same network and PointRend, trained together.
#   paddle-pointrend train --config {root}/pointrend_semantic_fpn.yml --save_dir output/pointrend --do_eval --seed 1

_base_: dataset.yml

model:
  type: PointRendSeg
  num_classes: {num_classes}
  segmentor:
    type: SemanticFPN
    num_classes: {num_classes}
    backbone:
      type: ResNet18_vd
      output_stride: 32
    head_levels: [1, 2, 3]
    fpn_channels: 64
    head_channels: 64
  point_head:
    hidden_channels: 128
  num_train_points: 2048
  num_subdivision_points: 8192

loss:
  types:
    - type: CrossEntropyLoss
    - type: PointSampledCrossEntropyLoss
  coef: [1, 1]
"""
_FILES = {"dataset.yml": _DATASET, "semantic_fpn.yml": _COARSE, "pointrend_semantic_fpn.yml": _POINTREND}


def write_own_configs(
    folder: str | os.PathLike, root: str | os.PathLike, class_names: Sequence[str], shorter_side: int, iters: int = 600
) -> list[str]:
    """Writes configs for PaddleSeg lists train.txt and val.txt.

    Args:
        folder: where to write them.
        root: the folder of the lists as the configs are to name it.
        class_names: K names in the order of their ids.
        shorter_side: of most images, in pixels; crops are not larger.
        iters: iterations of the training.

    Returns:
        The names of the files.
    """
    least, most = _SIDES
    name = pathlib.Path(root).as_posix()
    values = {
        "root": name,
        "names": _as_yaml(list(class_names)),
        "root_value": _as_yaml(name),
        "train_value": _as_yaml(f"{name}/train.txt"),
        "val_value": _as_yaml(f"{name}/val.txt"),
        "num_classes": len(class_names),
        "side": min(most, max(least, shorter_side // 32 * 32)),
        "iters": iters,
    }
    for file, text in _FILES.items():
        (pathlib.Path(folder) / file).write_text(text.format(**values), encoding="utf-8")
    return list(_FILES)


def _as_yaml(value):
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()
