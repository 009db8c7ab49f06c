# %% [markdown] lang="zh"
# # 实例分割：Mask R-CNN 上的 PointRend
#
# 实例分割找出一个个物体：每个物体有框、类别、分数和掩码。PointRend 替换的是 Mask R-CNN 的掩码头：
#
# | 步骤 | 掩码边长 | 预测的点 |
# |---|---|---|
# | 粗糙掩码，由全连接层给出 | 7 | 整张 |
# | 规则网格上的点 | 28 | 全部 784 个 |
# | 三次加倍，每次只预测最拿不准的点 | 56、112、224 | 各 784 个 |
#
# 需要附加依赖 `[instance,pretrained]`，下面的单元格会在缺少时安装，不会重装 Paddle。
#
# 每次训练只有 120 次迭代，验证图像只有 8 张：分数还很低。保存的输出在一个繁忙的 CPU 核上用了 34 分钟。
# %% [markdown] lang="en"
# # Instance segmentation: PointRend on Mask R-CNN
#
# Instance segmentation finds single objects: each has a box, a class, a score and a mask. PointRend takes the place of Mask R-CNN's mask
# head:
#
# | step | side of the mask | predicted points |
# |---|---|---|
# | coarse mask, by fully connected layers | 7 | the whole |
# | points on a regular grid | 28 | all 784 |
# | three doublings, each predicts only the most uncertain points | 56, 112, 224 | 784 each |
#
# It needs the extras `[instance,pretrained]`; where they are missing the next cell installs them, and leaves Paddle as it is.
#
# Each training has 120 iterations, and there are 8 val images: scores are low yet. The stored outputs took 34 minutes on one busy CPU core.
# %%
import importlib.util
import os
import pathlib
import subprocess
import sys

if None in map(importlib.util.find_spec, ("paddle_pointrend", "pycocotools")):
    repository = next(folder for folder in pathlib.Path.cwd().parents if (folder / "pyproject.toml").exists())
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"{repository}[instance,pretrained]"], check=True)
    importlib.invalidate_caches()

SMALL = os.environ.get("NOTEBOOK_SMALL") == "1"  # a few seconds of everything, for tests
HOME = pathlib.Path("/home/aistudio")
DATA = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "data"
OUTPUT = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "output"
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import json
import time

import matplotlib.pyplot as plt
import numpy as np
import paddle
from paddleseg.utils import logger

from paddle_pointrend import load_model, scenes
from paddle_pointrend.data.coco import read_coco_image
from paddle_pointrend.data.instances import pad_images
from paddle_pointrend.data.masks import decode_mask
from paddle_pointrend.evaluation import instance_table
from paddle_pointrend.evaluation.instance_pictures import draw_instances, instance_colors
from paddle_pointrend.paddleseg import load_config
from paddle_pointrend.paddleseg.attach import write_config
from paddle_pointrend.paddleseg.attach_instances import attach_mask_head
from paddle_pointrend.paddleseg.config_files import configs_folder
from paddle_pointrend.paddleseg.configs import make_builder
from paddle_pointrend.paddleseg.instance_data import build_instance_dataset
from paddle_pointrend.paddleseg.instance_evaluation import evaluate_instances
from paddle_pointrend.paddleseg.instance_prediction import predict_instances
from paddle_pointrend.paddleseg.instance_training import train_instances

logger.log_level = 1  # PaddleSeg is talkative

# %% [markdown] lang="zh"
# ## 数据：COCO 格式
#
# 画出来的街景也带有实例：一个 JSON 文件（`images`、`annotations`、`categories`）和图像文件夹。用自己的 COCO 数据时，让 `ROOT` 指向自己的文件夹，
# 删去 `write_dataset` 一行，修改下面的 `annotations`、`images`、`short_sides`（`height`）和 `NUM_CLASSES`（`categories` 的个数，不含背景）。
# %% [markdown] lang="en"
# ## Data in COCO's format
#
# The drawn street scenes have instances too: a JSON file (`images`, `annotations`, `categories`) and a folder of images. For COCO data of
# your own let `ROOT` name your folder, delete the line with `write_dataset`, and change `annotations`, `images`, `short_sides` (`height`)
# and `NUM_CLASSES` (the number of `categories`, without background) below.
# %%
num_train, num_val, iters, height = (4, 1, 2, 128) if SMALL else (40, 8, 120, 256)
ROOT, NUM_CLASSES = DATA / f"instances{num_train}", 10
scenes.write_dataset(ROOT, num_train, num_val, height=height, width=2 * height)
content = json.loads((ROOT / "annotations/instances_train.json").read_text())
print({name: len(part) for name, part in content.items() if isinstance(part, list)})
print(", ".join(category["name"] for category in content["categories"]))

WORK = OUTPUT / "instances"
WORK.mkdir(parents=True, exist_ok=True)
parts = {
    f"{split}_dataset": {
        "dataset_root": str(ROOT),
        "annotations": f"annotations/instances_{split}.json",
        "images": ".",
        "short_sides": [height],
    }
    for split in ("train", "val")
}
model = {"num_classes": NUM_CLASSES, "mask_head": {"num_classes": NUM_CLASSES}}
demo = configs_folder() / "scenes" / "pointrend_rcnn_efficientnet_lite0.yml"
write_config(WORK / "pointrend.yml", demo, {"iters": iters, **parts, "model": model}, "PointRend on my instances")


# %% [markdown] lang="zh"
# ## 训练
#
# 损失有六项：候选框两项，框两项，掩码两项：`mask` 是 7x7 粗糙掩码的交叉熵，`mask_point` 是每个框里 196 个采样点上的交叉熵。
# %% [markdown] lang="en"
# ## Train
#
# There are six losses: two of the proposals, two of the boxes and two of the masks: `mask` is the cross-entropy of the coarse mask of 7x7,
# `mask_point` that on 196 sampled points of each box.
# %%
def train(name):
    """Trains a config of WORK, and returns the config and the folder of the weights."""
    config = load_config(WORK / f"{name}.yml")
    (WORK / name).mkdir(exist_ok=True)
    start = time.time()
    weights = train_instances(config, WORK / name, seed=1, log_iters=1000)
    print(f"{name}: {config.iters} iterations, {time.time() - start:.0f} s")
    return config, weights


config, weights = train("pointrend")
model = load_model(config, weights)
dataset = build_instance_dataset(make_builder(config), config, "val_dataset")

# %% [markdown] lang="zh"
# ## 平均精度
#
# `coarse` 是 28x28 网格上的掩码，`refined` 是 224x224 的；两者的框相同。boundary AP 还要求轮廓附近的像素也匹配。
# %% [markdown] lang="en"
# ## Average precision
#
# `coarse` is the mask on the grid of 28x28, `refined` that of 224x224; both have the same boxes. Boundary AP asks that the pixels near
# outlines match too.
# %%
summaries = evaluate_instances(model, dataset, progress=False)
print(instance_table(summaries, dataset.coco.class_names))

# %% [markdown] lang="zh"
# ## 一个物体的每一步
#
# 取验证集中像素最多的一个物体和它的真实框（这样不依赖检测结果），再看掩码头的每一步：上面是掩码的概率，下面是该步重新预测的点。
# %% [markdown] lang="en"
# ## One object at each step
#
# The object of most pixels in the val set with its true box, so that nothing depends on detection, and each step of the mask head: above the
# mask's probabilities, below the points predicted again in that step.
# %%
record, item = max(
    ((image, item) for image in dataset.coco.images for item in image.objects),
    key=lambda pair: decode_mask(pair[1]["segmentation"], pair[0].height, pair[0].width).sum(),
)
pixels = read_coco_image(record)
images, sizes = pad_images([dataset.network_image(pixels)])
x, y, w, h = item["bbox"]
scale = np.tile(np.array(sizes[0][::-1]) / (record.width, record.height), 2)  # from the image to what the network sees
box = paddle.to_tensor([x, y, x + w, y + h] * scale, dtype="float32").reshape([1, 4])
class_id = dataset.coco.category_ids.index(item["category_id"])
steps = []
with paddle.no_grad():
    levels = model.features(paddle.to_tensor(images))[:-1]
    mask, grid = model.mask_head.predict(levels, box, [1], paddle.to_tensor([class_id]), steps)
probabilities = [grid[0].numpy(), *(1 / (1 + np.exp(-step.logits[0, 0].numpy())) for step in steps)]
print(dataset.coco.class_names[class_id], [len(step.coords[0]) for step in steps], "points")

crop = (slice(int(y), int(np.ceil(y + h))), slice(int(x), int(np.ceil(x + w))))
truth = decode_mask(item["segmentation"], record.height, record.width)[crop]
figure, axes = plt.subplots(2, 5, figsize=(10, 4.2))
for axis, picture, title in zip(axes[:, 0], (pixels[crop], truth), ("image", "truth")):
    axis.imshow(picture, extent=(0, 1, 1, 0), cmap="gray")
    axis.set_title(title)
for axis, probability in zip(axes[0, 1:], probabilities):
    axis.imshow(probability, extent=(0, 1, 1, 0), cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{len(probability)}x{len(probability)}")
for axis, step in zip(axes[1, 2:], steps):
    axis.imshow(pixels[crop], extent=(0, 1, 1, 0), alpha=0.5)
    axis.scatter(*step.coords[0].numpy().T, s=0.5, color="red")
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %% [markdown] lang="zh"
# ## 预测：predictions.json
#
# 每个实例一条，格式与 COCO 的结果相同。命令行是 `paddle-pointrend predict`，见 `docs/instances.md`。左边是真值，右边是分数最高的 20 个预测。
# %% [markdown] lang="en"
# ## Predict: predictions.json
#
# One entry an instance, in the form of COCO's results. On the command line it is `paddle-pointrend predict`, see `docs/instances.md`. At
# the left the truth, at the right the 20 predictions of the highest scores.
# %%
found = predict_instances(model, dataset, pixels)
results = found.as_coco(record.id, dataset.coco.category_ids)
(WORK / "predictions.json").write_text(json.dumps(results))
print(len(results), "instances", list(results[0]) if results else "")

corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (item["bbox"] for item in record.objects)])
masks = np.array([decode_mask(item["segmentation"], record.height, record.width) for item in record.objects], bool)
figure, axes = plt.subplots(1, 2, figsize=(10, 2.8))
best = slice(min(20, len(found.boxes)))
for axis, boxes, objects in zip(axes, (corners, found.boxes[best]), (masks, found.masks(which=best))):
    axis.imshow(draw_instances(pixels, boxes, objects, [""] * len(boxes), instance_colors(len(boxes))))
    axis.axis("off")
plt.show()

# %% [markdown] lang="zh"
# ## 装到训练好的 Mask R-CNN 上
#
# 先训练一个带普通掩码头的 Mask R-CNN，再用 `attach_mask_head`（命令行是 `paddle-pointrend attach`）换上 PointRend 的掩码头，只训练它：其余权重逐位不变，
# 所以框的 AP 也不变。
# %% [markdown] lang="en"
# ## On a trained Mask R-CNN
#
# A Mask R-CNN with its usual mask head is trained first; then `attach_mask_head` (on the command line `paddle-pointrend attach`) puts
# PointRend's in its place and that alone is trained. All other weights stay, bit by bit, and so does the AP of boxes.
# %%
usual = {"type": "StandardMaskHead", "num_classes": NUM_CLASSES, "in_channels": 64, "channels": 64}
write_config(
    WORK / "usual.yml", WORK / "pointrend.yml", {"model": {"mask_head": {"_inherited_": False, **usual}}}, "Mask R-CNN"
)
usual_config, usual_weights = train("usual")
attached = attach_mask_head(WORK / "usual.yml", usual_weights, iters=iters)
print(attached.reads)
write_config(WORK / "attached.yml", WORK / "usual.yml", attached.changes, "PointRend on usual.yml")
attached_config, attached_weights = train("attached")
usual_model, attached_model = load_model(usual_config, usual_weights), load_model(attached_config, attached_weights)
old, new = usual_model.state_dict(), attached_model.state_dict()
unchanged = [bool((new[name] == old[name]).all()) for name in old if not name.startswith("mask_head.")]
print(f"{sum(unchanged)} of {len(unchanged)} tensors outside the mask head are unchanged")
before = evaluate_instances(usual_model, dataset, progress=False)["prediction"]
after = evaluate_instances(attached_model, dataset, progress=False)["refined"]
print(f"mask AP {100 * before['mask']['ap']:.2f} -> {100 * after['mask']['ap']:.2f}")

key_numbers = {
    "sides": [len(probability) for probability in probabilities],
    "points": [len(step.coords[0]) for step in steps],
    "coarse_side": model.mask_head.coarse_head.side,
    "last_step_is_the_mask": float(np.abs(probabilities[-1] - mask[0].numpy()).max()) < 1e-6,
    "detector_stays": all(unchanged) and after["box"]["ap"] == before["box"]["ap"],
}
print(key_numbers)
