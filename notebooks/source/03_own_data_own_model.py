# %% [markdown] lang="zh"
# # 自己的数据，自己的 PaddleSeg 模型
#
# 从图像和标签的文件夹开始：写列表文件和配置，训练一个 PaddleSeg 自带的模型，再把 PointRend 装上去：冻结原模型只训练点头，或一起训练。最后导出，比较速度。
# 安装见 `01_quick_start.ipynb`。
#
# 每次训练只有 40 次迭代，分数还很低，但足以看出点头的作用；保存的输出在一个繁忙的 CPU 核上用了 17 分钟。
# %% [markdown] lang="en"
# # Your own data, your own PaddleSeg model
#
# From a folder of images and labels: list files and a config, a model of PaddleSeg's own is trained, then PointRend is put on it: with the
# model frozen, so that only the point head learns, or trained jointly. At the end it is exported, and the speeds are compared. For the
# installation see `01_quick_start.ipynb`.
#
# Each training has 40 iterations: scores are low yet, and show what the point head does. The stored outputs took 17 minutes on one busy
# CPU core.
# %%
import os
import pathlib

SMALL = os.environ.get("NOTEBOOK_SMALL") == "1"  # a few seconds of everything, for tests
HOME = pathlib.Path("/home/aistudio")
DATA = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "data"
OUTPUT = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "output"
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import time

import numpy as np
from paddleseg.utils import logger

from paddle_pointrend import Predictor, evaluate, load_model, scenes
from paddle_pointrend.data.images import read_image
from paddle_pointrend.deploy.export import export_model
from paddle_pointrend.evaluation import comparison_table
from paddle_pointrend.paddleseg import load_config, train_model
from paddle_pointrend.paddleseg.attach import attach_pointrend, write_config

logger.log_level = 1  # PaddleSeg is talkative

# %% [markdown] lang="zh"
# ## 数据
#
# 需要的只有：图像、单通道 PNG 标签（像素值是类别编号，255 忽略），以及每行写着 `图像 标签` 的列表文件。这里用画的街景代替；换成自己的数据时，让 `ROOT`
# 指向自己的文件夹，并修改 `NUM_CLASSES`。LabelMe、EISeg、COCO、VOC 的标注用 `paddle-pointrend prepare` 转换，见 `docs/zh/own_data.md`。
# %% [markdown] lang="en"
# ## Data
#
# Images, one-channel PNG labels (values are class ids, 255 is ignored) and list files with `image label` lines are all it takes. Drawn
# scenes stand in for yours: let `ROOT` name your folder and change `NUM_CLASSES`. What LabelMe, EISeg, COCO tools or VOC's layout hold,
# `paddle-pointrend prepare` turns into this, see `docs/own_data.md`.
# %%
num_train, num_val, iters, batch_size = (8, 2, 2, 2) if SMALL else (24, 4, 40, 4)
ROOT, NUM_CLASSES = DATA / f"scenes{num_train}", 19
scenes.write_dataset(ROOT, num_train, num_val, height=192, width=384)
print((ROOT / "train.txt").read_text().splitlines()[0])

# %% [markdown] lang="zh"
# ## 自己的模型
#
# 任何 PaddleSeg 模型都可以，`docs/models.md` 列出了测试过的 51 个。这里是 PP-LiteSeg（STDC1），从零训练。
# %% [markdown] lang="en"
# ## Your own model
#
# Any model of PaddleSeg; `docs/models.md` lists the 51 tested ones. Here it is PP-LiteSeg (STDC1), trained from scratch.
# %%
WORK = OUTPUT / "own_model"
WORK.mkdir(parents=True, exist_ok=True)
(WORK / "mine.yml").write_text(f"""\
batch_size: {batch_size}
iters: {iters}
train_dataset:
  type: Dataset
  dataset_root: {ROOT}
  train_path: {ROOT}/train.txt
  num_classes: {NUM_CLASSES}
  mode: train
  transforms:
    - type: RandomPaddingCrop
      crop_size: [256, 192]
    - type: RandomHorizontalFlip
    - type: Normalize
val_dataset:
  type: Dataset
  dataset_root: {ROOT}
  val_path: {ROOT}/val.txt
  num_classes: {NUM_CLASSES}
  mode: val
  transforms:
    - type: Normalize
optimizer: {{type: AdamW, weight_decay: 0.01}}
lr_scheduler: {{type: PolynomialDecay, learning_rate: 0.001, end_lr: 0, power: 0.9}}
model:
  type: PPLiteSeg
  num_classes: {NUM_CLASSES}
  backbone: {{type: STDC1}}
loss:
  types:
    - type: CrossEntropyLoss
  coef: [1, 1, 1]
""")


def train(name):
    """Trains a config of WORK, and returns the config and the weights."""
    config = load_config(WORK / f"{name}.yml")
    (WORK / name).mkdir(exist_ok=True)
    start = time.time()
    weights = train_model(config, WORK / name, seed=1, log_iters=1000)
    print(f"{name}: {config.iters} iterations, {time.time() - start:.0f} s")
    return config, weights


mine, mine_weights = train("mine")

# %% [markdown] lang="zh"
# ## 冻结：只训练点头
#
# `attach_pointrend`（命令行是 `paddle-pointrend attach`）找到可以读取的层，写出新的配置。原模型保持不变。
# %% [markdown] lang="en"
# ## Frozen: only the point head learns
#
# `attach_pointrend` (on the command line `paddle-pointrend attach`) finds the layers to read and gives the new config. The model stays as
# it is.
# %%
attached = attach_pointrend(WORK / "mine.yml", mine_weights, iters=iters)
print(attached.reads)
write_config(WORK / "frozen.yml", WORK / "mine.yml", attached.changes, "PointRend on mine.yml, frozen")
frozen, frozen_weights = train("frozen")
frozen_scores = evaluate(frozen, frozen_weights, progress=False)
print("\n".join(comparison_table(frozen_scores).splitlines()[:6]))

# %% [markdown] lang="zh"
# ## 一起训练
#
# 不冻结时，原模型的各个输出也要有损失：PP-LiteSeg 有三个，最后加上点的损失。
# %% [markdown] lang="en"
# ## Jointly
#
# Without freezing, the model's own outputs need their losses too: PP-LiteSeg has three; the one on the points comes last.
# %%
losses = [{"type": "CrossEntropyLoss"}] * 3 + [{"type": "PointSampledCrossEntropyLoss"}]
changes = {
    **attached.changes,
    "model": {**attached.changes["model"], "freeze_segmentor": False},
    "loss": {"_inherited_": False, "types": losses, "coef": [1, 1, 1, 1]},
}
write_config(WORK / "joint.yml", WORK / "mine.yml", changes, "PointRend on mine.yml, trained jointly")
joint, joint_weights = train("joint")
joint_scores = evaluate(joint, joint_weights, progress=False)
print("\n".join(comparison_table(joint_scores).splitlines()[:6]))

# %% [markdown] lang="zh"
# ## 导出，速度
#
# 导出为 Paddle Inference 的格式不需要另外安装；`format="onnx"` 需要附加依赖 `[onnx]`。在一张图像上比较标签和时间。
# %% [markdown] lang="en"
# ## Export and speed
#
# Paddle Inference's format needs nothing else installed; `format="onnx"` needs the extra `[onnx]`. Labels and times are compared on one
# picture.
# %%
model = load_model(joint, joint_weights)
export_model(model, WORK / "export", transforms=joint.val_dataset_cfg["transforms"], format="paddle")
image = read_image(next((ROOT / "leftImg8bit/val").rglob("*.png")))
predictors = {
    "paddle": Predictor.from_config(joint, joint_weights),
    "paddle-inference": Predictor(WORK / "export", runtime="paddle-inference"),
}
labels = {}
for name, predictor in predictors.items():
    labels[name] = predictor.predict(image)  # the first one warms up
    times = []
    for _ in range(2 if SMALL else 10):
        start = time.perf_counter()
        predictor.predict(image)
        times.append(time.perf_counter() - start)
    print(f"{name:17} {1000 * np.median(times):.0f} ms")
equal = float((labels["paddle"] == labels["paddle-inference"]).mean())
print(f"equal labels: {100 * equal:.3f} %")

key_numbers = {
    "coarse_stays": frozen_scores["coarse"]["miou"]
    - evaluate(mine, mine_weights, progress=False)["prediction"]["miou"],
    "frozen_boundary_iou": frozen_scores["refined"]["boundary_iou"],
    "joint_boundary_iou": joint_scores["refined"]["boundary_iou"],
    "equal_labels": equal,
}
print(key_numbers)
