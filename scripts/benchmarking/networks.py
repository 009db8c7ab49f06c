"""What scripts/benchmark.py measures: networks and their refinement, on every side, as functions without arguments.

Every function here runs in a process of its own and imports only what its side needs, so that the memory of that
process is the memory of that side: mmsegmentation's does not hold Paddle.

A spec is a dict: "entry" (the name in the tables), "shape" [N, H, W] of the images, "folder" (what `prepare` or
`prepare_stub` wrote), "network" (a key of NETWORKS), "threads", "clock".
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarking import torch_networks
from benchmarking.torch_networks import REFERENCE

if TYPE_CHECKING:
    from paddle_pointrend.deploy.runtimes import Runtime

Spec = dict[str, Any]

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs" / "cityscapes"
# The name of mmsegmentation's config in torch_parity -> our config, PaddleSeg's backbone.
NETWORKS = {
    "r101_cityscapes": ("pointrend_semantic_fpn_resnet101_mmseg.yml", "ResNet101_vd"),
    "r50_cityscapes": ("pointrend_semantic_fpn_resnet50_mmseg.yml", "ResNet50_vd"),
}
# An exported network's entries and the format that each reads; "-bf16" computes in bfloat16. They are written here once
# more, because importing paddle_pointrend would bring Paddle into mmsegmentation's process.
RUNTIMES = {"onnxruntime": "onnx", "openvino": "onnx", "openvino-bf16": "onnx", "paddle-inference": "paddle"}
REDUCED, INT8 = "-bf16", "-int8"
EXPORTS = RUNTIMES | {f"{runtime}{INT8}": f"onnx{INT8}" for runtime in ("onnxruntime", "openvino")}
CALIBRATION_SHAPE = (4, 128, 256)  # small: the search for sensitive layers runs the network once for each layer
SEED = 0
NUM_CLASSES, FINE_CHANNELS, STRIDE = 19, 256, 4  # of the stub
prepare_torch = torch_networks.prepare_torch  # processes look for their task here


def prepare(spec: Spec) -> None:
    """Writes the weights of both sides, and the exported networks of `spec["formats"]`, the coarse one alone too."""
    import paddle
    from torch_parity.mmseg_reference import MMSegReference
    from torch_parity.random_weights import random_state
    from torch_parity.stages import build, load_reference_state

    folder = pathlib.Path(spec["folder"])
    config, _ = NETWORKS[spec["network"]]
    reference = MMSegReference(spec["network"])
    state = random_state(reference.shapes(), SEED)
    np.savez(folder / f"{REFERENCE}.npz", **state)
    model = build(CONFIGS / config).model
    load_reference_state(model, state, "mmseg")
    paddle.save(model.state_dict(), str(folder / "model.pdparams"))
    model.eval()
    for part, layer in (("pointrend", model), ("coarse", model.segmentor)):
        for format in spec["formats"]:
            _export(layer, folder / f"{part}-{format}", format)


def prepare_stub(spec: Spec) -> None:
    """Writes what refinement alone needs: the weights of a stub with a point head, and its exports.

    The stub is a segmentor of two convolutions, which takes next to no time and memory, so that what an exported
    network takes beyond the exported stub is the refinement. `spec["points"]`: points of each step, one export each.
    """
    import paddle

    folder = pathlib.Path(spec["folder"])
    for points in spec["points"]:
        model = _stub(points)
        for format in spec["formats"]:
            _export(model, folder / f"stub-pointrend-{points}-{format}", format)
    for format in spec["formats"]:
        _export(model.segmentor, folder / f"stub-coarse-{format}", format)
    paddle.save(model.state_dict(), str(folder / "stub.pdparams"))
    np.savez(folder / "stub.npz", **{name: tensor.numpy() for name, tensor in model.state_dict().items()})


def network(spec: Spec) -> Callable[[], np.ndarray]:
    """Makes a function that runs the entry's network, images in memory -> logits."""
    call, images = _network(spec), random_images(spec["shape"])
    return lambda: call(images)


def outputs(spec: Spec) -> Callable[[], np.ndarray]:
    """Makes a function as `network` does, but the images go through it one after the other."""
    count, *size = spec["shape"]
    call, images = _network({**spec, "shape": (1, *size)}), random_images((count, *size))
    return lambda: np.concatenate([call(image[None]) for image in images])


def _network(spec):
    """Makes a function of images."""
    part, _, side = spec["entry"].rpartition(" ")
    folder = pathlib.Path(spec["folder"])
    if side in EXPORTS:
        return load_entry(side, folder / f"{part or 'pointrend'}-{EXPORTS[side]}", spec["threads"])
    if side in (*torch_networks.EAGER, *torch_networks.EXPORTED):
        return torch_networks.torch_network(spec)
    if side == "paddleseg":
        return _eager(_paddleseg(NETWORKS[spec["network"]][1]))
    model = _ours(spec["network"], folder)
    return _eager(model.segmentor if part == "coarse" else model)


def refinement(spec: Spec) -> Callable[[], Any]:
    """Makes a function that runs the entry's refinement alone: coarse logits and fine features in memory -> a tensor.

    On an exported runtime it is the stub with refinement, or ("coarse ...") the stub without.
    """
    part, _, side = spec["entry"].rpartition(" ")
    folder = pathlib.Path(spec["folder"])
    images = random_images(spec["shape"])
    if side in EXPORTS:
        name = part or f"pointrend-{spec['points']}"
        call = load_entry(side, folder / f"stub-{name}-{EXPORTS[side]}", spec["threads"])
        return lambda: call(images)
    return (torch_networks.torch_refinement if side == REFERENCE else _eager_refinement)(spec, images)


def training(spec: Spec) -> Callable[[], Any]:
    """Makes a function that takes one training step of the entry's network on random images and labels.

    "paddle", "coarse paddle" (SemanticFPN alone), "paddle-static" (as `train --to_static_training`), mmsegmentation's.
    """
    images = random_images(spec["shape"])
    labels = np.random.default_rng(SEED).integers(NUM_CLASSES, size=spec["shape"])
    if spec["entry"] == REFERENCE:
        return torch_networks.torch_training(spec, images, labels)
    import paddle
    import training_step

    part, _, side = spec["entry"].rpartition(" ")
    path = str(CONFIGS / NETWORKS[spec["network"]][0])
    config = training_step.load_config(path)
    if part == "coarse":
        config = training_step.segmentor_alone(config)
    step = training_step.step_of(config, path, to_static=side == "paddle-static")
    images, labels = paddle.to_tensor(images), paddle.to_tensor(labels)
    return lambda: step(images, labels)


def random_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Draws float32 [N, 3, H, W], about normalised: squares of 32 pixels in random colours, and a little noise."""
    count, height, width = shape
    generator = np.random.default_rng(SEED)
    colours = generator.standard_normal([count, 3, -(-height // 32), -(-width // 32)], dtype="float32")
    images = generator.standard_normal([count, 3, height, width], dtype="float32")
    images *= 0.2
    images += colours.repeat(32, axis=2).repeat(32, axis=3)[:, :, :height, :width]
    return images


def _export(layer, folder, format):
    """Exports logits; of "onnx-int8" what is quantised was exported before as "onnx"."""
    from paddle_pointrend.deploy.export import export_model
    from paddle_pointrend.deploy.quantization import quantize_export

    if not format.endswith(INT8):
        export_model(layer, folder, format=format, output="logits")
        return
    folder.mkdir()
    images = random_images(CALIBRATION_SHAPE)
    quantize_export(folder.with_name(folder.name.removesuffix(INT8)), folder, list(images[:, None]), progress=False)


def load_entry(entry: str, folder: pathlib.Path, threads: int | None = None) -> Runtime:
    """Loads an exported folder into the runtime of an entry of EXPORTS."""
    from paddle_pointrend.deploy.runtimes import load_runtime

    precision = "bf16" if entry.endswith(REDUCED) else None  # None: the export's
    runtime = entry.removesuffix(REDUCED).removesuffix(INT8)
    return load_runtime(runtime, folder, num_threads=threads, precision=precision)


def _ours(name, folder):
    import paddle
    from torch_parity.stages import build

    model = build(CONFIGS / NETWORKS[name][0]).model
    model.set_state_dict(paddle.load(str(folder / "model.pdparams")))
    return model


def _eager(model):
    import paddle

    model.eval()

    @paddle.no_grad()
    def call(images):
        return model(paddle.to_tensor(images))[0].numpy()

    return call


def _paddleseg(backbone):
    """Builds PaddleSeg's own PointRend, random weights, patched where it fails on Paddle 3: its choice of points.

    That concatenates a tensor of int64 and one of int32. Ours takes its place, on its own measure of uncertainty.
    """
    from paddleseg import models

    from paddle_pointrend import select_uncertain_points

    model = models.PointRend(NUM_CLASSES, getattr(models, backbone)(output_stride=32), (0, 1, 2, 3))
    num_points = int(model.pointhead.subdivision_num_points)
    model.pointhead.get_points_test = lambda logits, uncertainty: select_uncertain_points(
        uncertainty(logits), num_points
    )
    return model


def _stub(points=8196):
    """Builds a PointRendSeg on a stub: strided 4x4 convolution to the fine features, 1x1 to the coarse logits."""
    import paddle
    from paddle import nn

    from paddle_pointrend import PointRendSeg

    class Stub(nn.Layer):
        num_classes, coarse_stride, fine_channels = NUM_CLASSES, STRIDE, [FINE_CHANNELS]

        def __init__(self):
            super().__init__()
            self.fine = nn.Conv2D(3, FINE_CHANNELS, STRIDE, stride=STRIDE)
            self.coarse = nn.Conv2D(FINE_CHANNELS, NUM_CLASSES, 1)

        def forward_features(self, x):
            fine = self.fine(x)
            return self.coarse(fine), [fine]

        def forward(self, x):
            coarse_logits, _ = self.forward_features(x)
            return [nn.functional.interpolate(coarse_logits, size=x.shape[2:], mode="bilinear", align_corners=False)]

    paddle.seed(SEED)
    model = PointRendSeg(Stub(), num_subdivision_points=points)
    model.eval()
    return model


def _eager_refinement(spec, images):
    import paddle

    model = _stub(spec["points"])
    model.set_state_dict(paddle.load(str(pathlib.Path(spec["folder"]) / "stub.pdparams")))
    with paddle.no_grad():
        coarse_logits, fine_features = model.segmentor.forward_features(paddle.to_tensor(images))

    size = list(images.shape[2:])

    @paddle.no_grad()
    def call():
        return model.refine(coarse_logits, fine_features, size)

    return call
