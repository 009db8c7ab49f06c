"""A tiny network and exported folders of it, written without paddle_pointrend.deploy.export."""

import copy
import importlib.util

import paddle
import pytest
import yaml
from paddle import nn
from paddle.nn import functional as F
from paddle.static import InputSpec

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
NUM_CLASSES = 5
PALETTE = [[10 * i, 200 - 10 * i, 7 * i] for i in range(NUM_CLASSES)]


class TinyNetwork(nn.Layer):
    """Makes a list of logits [N, 5, H, W], as PaddleSeg's models: two convolutions and an upsampling."""

    def __init__(self, labels=False):
        super().__init__()
        self.labels = labels
        self.first = nn.Sequential(nn.Conv2D(3, 8, 3, stride=2, padding=1), nn.BatchNorm2D(8), nn.ReLU())
        self.last = nn.Conv2D(8, NUM_CLASSES, 3, padding=1)

    def forward(self, x):
        small = self.last(self.first(x))
        logits = F.interpolate(small, size=paddle.shape(x)[2:], mode="bilinear")
        return logits.argmax(axis=1).astype("uint8") if self.labels else [logits]


def write_export(folder, network, file_format, **changes):
    """Exports a TinyNetwork into a folder, in format "onnx" or "paddle"; changes replace keys of deploy.yaml."""
    folder.mkdir(parents=True)
    spec = [InputSpec([None, 3, None, None], "float32", "x")]
    static = copy.deepcopy(network)  # to_static changes the layer
    static.eval()
    paddle.jit.save(paddle.jit.to_static(static, input_spec=spec, full_graph=True), str(folder / "model"))
    if file_format == "onnx":
        if importlib.util.find_spec("paddle2onnx") is None:
            pytest.skip("paddle2onnx is not installed")
        import paddle2onnx

        files = [str(folder / name) for name in ("model.json", "model.pdiparams")]
        target = str(folder / "model.onnx")
        # Its optimizer would install packages.
        paddle2onnx.export(*files, save_file=target, opset_version=18, optimize_tool="None", verbose=False)
        for file in files:
            (folder / file).unlink()
    transforms = [{"type": "Normalize", "mean": [m / 255 for m in MEAN], "std": [s / 255 for s in STD]}]
    deploy = {
        "Deploy": {"model": "model.json", "params": "model.pdiparams", "transforms": transforms},
        "format": file_format,
        "output": "label" if network.labels else "logits",
        "num_classes": NUM_CLASSES,
        "classes": [f"class_{i}" for i in range(NUM_CLASSES)],
        "palette": PALETTE,
        "channels": "rgb",
        "mean": MEAN,
        "std": STD,
    }
    (folder / "deploy.yaml").write_text(yaml.safe_dump({**deploy, **changes}))
    return folder
