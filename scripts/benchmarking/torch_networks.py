"""mmsegmentation's side of scripts/benchmark.py: eager, what a torch user changes with one line, torch.onnx.export.

Specs are those of benchmarking.networks; so is what the functions here return.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

Spec = dict[str, Any]

REFERENCE = "mmsegmentation"
BF16, CHANNELS_LAST, COMPILED = (f"{REFERENCE}-{name}" for name in ("bf16", "channels-last", "compile"))
ONNXRUNTIME, OPENVINO, OPENVINO_BF16 = (f"{REFERENCE}-{name}" for name in ("onnxruntime", "openvino", "openvino-bf16"))
EAGER = (REFERENCE, BF16, CHANNELS_LAST, COMPILED)
EXPORTED = (ONNXRUNTIME, OPENVINO, OPENVINO_BF16)
OPSET = 17  # from 16 on there is GridSample


def prepare_torch(spec: Spec) -> None:
    """Exports mmsegmentation's network and its coarse one, for images of `spec["shape"]` alone.

    The export fixes the size: its point head computes with the map's height and width as Python's integers.
    """
    import torch

    torch.set_num_threads(spec["threads"])
    images = torch.zeros([spec["shape"][0], 3, *spec["shape"][1:]])
    for part in ("pointrend", "coarse"):
        torch.onnx.export(_module(spec, part), (images,), _onnx_file(spec, part), opset_version=OPSET, dynamo=False)


def torch_network(spec: Spec) -> Callable[[np.ndarray], np.ndarray]:
    """Makes a function of images [N, 3, H, W] that runs the entry, one of EAGER or EXPORTED, or "coarse " and one."""
    part, _, side = spec["entry"].rpartition(" ")
    part = part or "pointrend"
    if side == ONNXRUNTIME:
        return _onnxruntime(_onnx_file(spec, part), spec["threads"])
    if side in EXPORTED:
        return _openvino(_onnx_file(spec, part), spec["threads"], "bf16" if side == OPENVINO_BF16 else "f32")
    return _eager(spec, part, side)


def _onnx_file(spec, part):
    return pathlib.Path(spec["folder"]) / f"{REFERENCE}-{part}-{'x'.join(map(str, spec['shape']))}.onnx"


def _module(spec, part) -> nn.Module:
    """Makes a module of images: the whole network, or its coarse logits, upsampled to the images' size."""
    import torch
    from torch_parity.mmseg_reference import MMSegReference

    reference = MMSegReference(spec["network"])
    with np.load(pathlib.Path(spec["folder"]) / f"{REFERENCE}.npz") as state:
        reference.load(state)
    metas = image_metas(spec["shape"])

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = reference.model

        def forward(self, images):
            return self.model.inference(images, metas)

    class Coarse(Whole):
        def forward(self, images):
            logits = self.model.decode_head[0](self.model.extract_feat(images))
            size = metas[0]["img_shape"]
            return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)

    return (Coarse if part == "coarse" else Whole)().eval()


def _eager(spec, part, side):
    import torch

    torch.set_num_threads(spec["threads"])
    module = _module(spec, part)
    if side == CHANNELS_LAST:
        module = module.to(memory_format=torch.channels_last)
    if side == COMPILED:
        module = torch.compile(module)

    @torch.inference_mode()
    def call(images):
        images = torch.from_numpy(images)
        if side == CHANNELS_LAST:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=side == BF16):
            return module(images).float().numpy()

    if side == COMPILED:
        call(np.zeros([spec["shape"][0], 3, *spec["shape"][1:]], "float32"))  # compiles: minutes, which are no run's
    return call


def _onnxruntime(file, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _openvino(file, threads, precision):
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(file, "CPU", settings)
    return lambda images: compiled(images)[0]


def image_metas(shape: tuple[int, int, int]) -> list[dict[str, tuple]]:
    """Makes what mmsegmentation wants to know of each image of a batch."""
    return [{"img_shape": tuple(shape[1:]), "ori_shape": tuple(shape[1:])}] * shape[0]


def torch_training(spec: Spec, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """Makes a function that takes one training step of mmsegmentation's network: its losses, SGD as in its config."""
    import torch

    torch.set_num_threads(spec["threads"])
    from mmengine.optim import build_optim_wrapper
    from torch_parity.mmseg_reference import MMSegReference, mmseg_samples

    torch.manual_seed(0)
    reference = MMSegReference(spec["network"])
    model = reference.model.train()
    optimizer = build_optim_wrapper(model, reference.config.optim_wrapper).optimizer
    inputs, samples = torch.from_numpy(images), mmseg_samples(images.shape[2:], labels)

    def step():
        optimizer.zero_grad()
        loss, _ = model.parse_losses(model.loss(inputs, samples))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_refinement(spec: Spec, images: np.ndarray) -> Callable[[], Any]:
    """Makes a function that runs mmsegmentation's point head on the stub's maps with the stub's weights."""
    import torch

    torch.set_num_threads(spec["threads"])
    from torch_parity.mmseg_reference import MMSegReference

    from benchmarking.networks import STRIDE

    with np.load(pathlib.Path(spec["folder"]) / "stub.npz") as file:
        state = {name: torch.from_numpy(array) for name, array in file.items()}
    model = MMSegReference("r50_cityscapes").model.eval()
    head, test_cfg = model.decode_head[1], model.test_cfg
    del model
    test_cfg.subdivision_num_points = spec["points"]
    head.load_state_dict({_torch_name(name): state[name] for name in state if name.startswith("point_head.")})
    metas = image_metas(spec["shape"])
    with torch.inference_mode():
        maps = torch.from_numpy(images)
        fine = torch.conv2d(maps, state["segmentor.fine.weight"], state["segmentor.fine.bias"], stride=STRIDE)
        coarse_logits = torch.conv2d(fine, state["segmentor.coarse.weight"], state["segmentor.coarse.bias"])
        del maps

    @torch.inference_mode()
    def call():
        return head.predict([fine], coarse_logits, metas, test_cfg)

    return call


def _torch_name(name):
    """Translates the name of a parameter of our point head to mmsegmentation's."""
    name = name.removeprefix("point_head.").replace("predictor.", "fc_seg.")
    if name.startswith("layers."):
        _, number, parameter = name.split(".")
        return f"fcs.{number}.conv.{parameter}"
    return name
