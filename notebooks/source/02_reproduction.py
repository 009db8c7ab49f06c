# %% [markdown] lang="zh"
# # 复现：一步一步看 PointRend
#
# 论文：Kirillov 等，"PointRend: Image Segmentation as Rendering"，CVPR 2020。这里依次看：`scatter_paddle` 与 torch 的语义；怎样在点上读取特征；
# 分成两部分的损失；真实照片上每一步选中的点；训练；boundary IoU。运行前请先看 `01_quick_start.ipynb` 的安装部分。
# %% [markdown] lang="en"
# # The reproduction: PointRend step by step
#
# The paper: Kirillov et al., "PointRend: Image Segmentation as Rendering", CVPR 2020. In turn: `scatter_paddle` and torch's semantics;
# reading features at points; the loss in two parts; the points of each step on a real photograph; training; boundary IoU. For the
# installation see `01_quick_start.ipynb`.
# %%
import os
import pathlib

SMALL = os.environ.get("NOTEBOOK_SMALL") == "1"  # a few seconds of everything, for tests
HOME = pathlib.Path("/home/aistudio")
DATA = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "data"
OUTPUT = (HOME if HOME.is_dir() else pathlib.Path.cwd()) / "output"
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import matplotlib.pyplot as plt
import numpy as np
import paddle
from paddle.nn import functional as F
from paddleseg.cvlibs import SegBuilder
from paddleseg.utils import logger

from paddle_pointrend import PointSampledCrossEntropyLoss, evaluate, load_model, point_sample, scatter_paddle, scenes
from paddle_pointrend.data.images import read_image
from paddle_pointrend.evaluation import SubdivisionStep, boundary_width, comparison_table
from paddle_pointrend.evaluation.figures import draw_step
from paddle_pointrend.paddleseg import build, load_config, train_model
from paddle_pointrend.paddleseg.config_files import configs_folder
from paddle_pointrend.paddleseg.preprocessing import val_preprocessing

logger.log_level = 1  # PaddleSeg is talkative
key_numbers = {}

# %% [markdown] lang="zh"
# ## 1. `scatter_paddle` 与 torch 的 `scatter`
#
# PointRend 要把预测写回图中的点：`out[n][c][index[n][c][p]] = updates[n][c][p]`。torch 的 `x.scatter(2, index, updates)` 正是如此；
# `paddle.scatter` 却按整行替换。`scatter_paddle` 给出 torch 的语义。下面与逐个元素的循环比较，装有 torch 时也与它比较。
# %% [markdown] lang="en"
# ## 1. `scatter_paddle` and torch's `scatter`
#
# PointRend writes predictions back to points of the map: `out[n][c][index[n][c][p]] = updates[n][c][p]`. That is torch's
# `x.scatter(2, index, updates)`; `paddle.scatter` replaces whole rows instead. `scatter_paddle` has torch's semantics. It is compared with
# a loop over the elements and, where torch is installed, with torch.
# %%
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 3, 8)).astype("float32")
index = np.stack([rng.permutation(8)[:4] for _ in range(6)]).reshape(2, 3, 4)
updates = rng.standard_normal((2, 3, 4)).astype("float32")

expected = x.copy()
for n, c, p in np.ndindex(index.shape):
    expected[n, c, index[n, c, p]] = updates[n, c, p]

result = scatter_paddle(*(paddle.to_tensor(array) for array in (x, index, updates)), axis=2).numpy()
print("equal to the loop: ", np.array_equal(result, expected))
try:
    import torch

    of_torch = torch.tensor(x).scatter(2, torch.tensor(index), torch.tensor(updates)).numpy()
    print("equal to torch:    ", np.array_equal(result, of_torch))
except ImportError:
    print("torch is not installed")
key_numbers["scatter_difference"] = float(np.abs(result - expected).max())

rows = paddle.scatter(paddle.zeros([4, 2]), paddle.to_tensor([1, 3]), paddle.ones([2, 2]))
print("paddle.scatter replaces rows:\n", rows.numpy())

# %% [markdown] lang="zh"
# ## 2. 在点上读取特征
#
# 坐标是 [0, 1] x [0, 1] 中的 (x, y)，像素中心是 (i + 0.5) / 边长。`point_sample` 在像素之间双线性插值：在像素中心得到像素的值，在两个中心之间得到平均值。
# %% [markdown] lang="en"
# ## 2. Reading features at points
#
# Coordinates are (x, y) in [0, 1] x [0, 1], a pixel's centre is (i + 0.5) / size. `point_sample` interpolates between pixels: at a centre
# it gives the pixel's value, between two centres their mean.
# %%
ramp = paddle.arange(4, dtype="float32").reshape([1, 1, 1, 4])
coords = paddle.to_tensor([[[0.125, 0.5], [0.25, 0.5], [0.875, 0.5]]])
print(point_sample(ramp, coords).numpy())

# %% [markdown] lang="zh"
# ## 3. 分成两部分的损失
#
# 训练时模型返回两个输出：放大到图像大小的粗糙图，和 `(点的 logits, 点的坐标)`。PaddleSeg 的 `CrossEntropyLoss` 看第一个，`PointSampledCrossEntropyLoss`
# 在点上最近邻地读取标签，看第二个。下面手工再算一遍。
# %% [markdown] lang="en"
# ## 3. The loss in two parts
#
# In training the model returns two outputs: the coarse map, upsampled to the image, and `(point logits, point coordinates)`. PaddleSeg's
# `CrossEntropyLoss` takes the first; `PointSampledCrossEntropyLoss` reads the nearest labels at the points, for the second. Here it is
# computed by hand once more.
# %%
num_train, num_val, iters = (8, 2, 4) if SMALL else (24, 4, 40)
scenes.write_dataset(DATA / f"scenes{num_train}", num_train, num_val, height=192, width=384)
config_file = configs_folder() / "scenes" / "pointrend_semantic_fpn_efficientnet_lite0.yml"
opts = [f"{part}.dataset_root={DATA / f'scenes{num_train}'}" for part in ("train_dataset", "val_dataset")]
config = load_config(config_file, opts, iters=iters)

paddle.seed(1)
model = build(SegBuilder(config), config_file, "model")
model.train()
scene, label = scenes.draw_scene(seed=7, height=192, width=384)
preprocess = val_preprocessing(config)


def as_batch(image):
    """Makes the network's input [1, 3, H, W] of an image, uint8 [H, W, 3] in RGB."""
    return paddle.to_tensor(preprocess(image)[0].transpose(2, 0, 1)[None])


upsampled, (point_logits, point_coords) = model(as_batch(scene))
print("coarse map", upsampled.shape, "  points", point_logits.shape, point_coords.shape)
loss = PointSampledCrossEntropyLoss()((point_logits, point_coords), paddle.to_tensor(label[None].astype("int64")))

column, row = (np.floor(point_coords.numpy()[0] * (384, 192)).astype(int)).T
labels_at_points = label[row, column]
judged = labels_at_points != 255
log_probabilities = F.log_softmax(point_logits, axis=1).numpy()[0].T
by_hand = -log_probabilities[np.flatnonzero(judged), labels_at_points[judged]].mean()
print(f"loss on the points {float(loss):.6f}, by hand {by_hand:.6f}, chance ln 19 = {np.log(19):.3f}")
key_numbers["loss_difference"] = abs(float(loss) - float(by_hand))

# %% [markdown] lang="zh"
# ## 4. 训练
#
# 两个损失相加。骨干网络从 ImageNet 权重开始，学习率先升后降。
# %% [markdown] lang="en"
# ## 4. Training
#
# The two losses are added. The backbone starts from ImageNet weights; the learning rate warms up and decays.
# %%
save_dir = OUTPUT / "reproduction"
save_dir.mkdir(parents=True, exist_ok=True)
weights = train_model(config, save_dir, seed=1, log_iters=2, use_vdl=True)
model = load_model(config, weights)

from visualdl import LogReader

newest = max(save_dir.glob("vdlrecords.*"), key=lambda path: path.stat().st_mtime)
reader = LogReader(file_path=str(newest))
figure, axis = plt.subplots(figsize=(6, 2.6))
for tag, name in (("Train/loss_0", "coarse"), ("Train/loss_1", "points")):
    records = reader.get_data("scalar", tag)
    axis.plot([record.id for record in records], [record.value for record in records], label=name)
axis.set(xlabel="iteration", ylabel="loss")
axis.legend()
plt.show()


# %% [markdown] lang="zh"
# ## 5. 每一步选中的点
#
# 推理从粗糙图（步长 8）开始，每一步把图放大一倍，选出最不确定的点（最好与次好 logits 之差最小），由点头重新预测，再写回图中。先看一幅画的街景，
# 再看一张真实照片。网络没见过真实照片，类别大多是错的，但点仍然落在它拿不准的边缘上。
# 照片：a-hwang，[building-facade-segmentation](https://github.com/a-hwang/building-facade-segmentation)，
# [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)，已缩小。`data/camvid` 中有 CamVid 时，用其中的一张照片。
# %% [markdown] lang="en"
# ## 5. The points of each step
#
# Inference starts from the coarse map (stride 8). Each step doubles the map, picks the most uncertain points (the smallest difference
# between the best and the second-best logit), lets the point head predict them again and puts them back. First a drawn scene, then a real
# photograph: the network has never seen one, so most of its classes are wrong, but the points still lie on edges where it is unsure.
# Photograph: a-hwang, [building-facade-segmentation](https://github.com/a-hwang/building-facade-segmentation),
# [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), shrunk. Where `data/camvid` holds CamVid, one of its photographs is taken.
# %%
def real_photograph():
    """Reads a photograph of CamVid, or the first panel of the README's picture."""
    of_camvid = sorted((DATA / "camvid" / "images").rglob("*.png"))
    if of_camvid:
        return read_image(of_camvid[0])
    folders = [pathlib.Path.cwd(), *pathlib.Path.cwd().parents, pathlib.Path(scenes.__file__).parents[2]]
    picture = next(folder / "docs/images/facades.png" for folder in folders if (folder / "docs/images").is_dir())
    return read_image(picture)[28:240, :320]


def show_steps(image, num_points):
    """Shows the points of every step and returns how many there are."""
    model.num_subdivision_points = [num_points] * 3
    with paddle.no_grad():
        trace = model.trace(as_batch(image))
    _, axes = plt.subplots(1, 3, figsize=(11, 2.4))
    for number, (axis, step) in enumerate(zip(axes, trace.steps), start=1):
        step = SubdivisionStep(step.coords[0].numpy(), tuple(step.logits.shape[2:]))
        axis.imshow(draw_step(image, step, 480))
        axis.set_title(f"step {number}: {len(step.coords)} points, {step.size[1]} x {step.size[0]}", fontsize=8)
        axis.axis("off")
    plt.show()
    return [step.coords.shape[1] for step in trace.steps]


key_numbers["points"] = show_steps(scene, 1024)
photograph = real_photograph()
show_steps(photograph, 1024)

# %% [markdown] lang="zh"
# ## 6. Boundary IoU
#
# IoU 主要由物体内部决定，边缘改善了它也几乎不变。boundary IoU（Cheng 等，2021）只在离轮廓不超过图像对角线 2 % 的区域内计算 IoU。
# %% [markdown] lang="en"
# ## 6. Boundary IoU
#
# IoU is mostly decided inside of things; better edges hardly change it. Boundary IoU (Cheng et al. 2021) is the IoU within 2 % of the
# image's diagonal from the outlines.
# %%
print("width of the boundary:", boundary_width(192, 384), "pixels")
model.num_subdivision_points = [4096] * 3
summaries = evaluate(config, model, progress=False)
print("\n".join(comparison_table(summaries, scenes.CLASSES).splitlines()[:6]))
key_numbers |= {
    "boundary_width": boundary_width(192, 384),
    "coarse_miou": summaries["coarse"]["miou"],
    "refined_boundary_iou": summaries["refined"]["boundary_iou"],
}
print(key_numbers)
