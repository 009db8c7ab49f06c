"""Writes trained weights to a file that runs without their Python code: Paddle's inference format, or ONNX."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.deploy.deploy_file import FILE_NAME, FORMATS, DeployFile
from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.onnx_conversion import check_paddle2onnx, convert_to_onnx
from paddle_pointrend.deploy.runtimes import fastest_runtime, load_runtime
from paddle_pointrend.deploy.tracing import save_graph
from paddle_pointrend.models.backbones import image_channels
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.points.graph import ONNX_GRAPH

OUTPUTS = ("logits", "label")
# Batch, height and width of the images that compare_with_eager runs: one whose sides all strides divide, one that none.
CHECKED_SIZES = ((1, 256, 384), (2, 185, 235))


def export_model(
    model: nn.Layer,
    folder: str | os.PathLike,
    *,
    format: str,
    output: str = "logits",
    output_size: tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | np.ndarray | None = None,
    transforms: Sequence[dict] = (),
) -> None:
    """Writes a network into a folder: images float32 [N, C, H, W] of any N, H, W in, logits or labels out.

    The folder gets `model.json` and `model.pdiparams`, or `model.onnx`; and `deploy.yaml`, which says how to
    normalise images and what the labels mean, and is what PaddleSeg's own deploy scripts read.

    Args:
        model: a segmentation model; its first output counts, logits [N, K, H, W]. It is put into eval mode.
        folder: is made where it does not exist.
        format: "paddle" or "onnx".
        output: "logits", float32 [N, K, H, W]; or "label", uint8 [N, H, W], the argmax taken inside the graph.
        output_size: (height, width) to which logits are resized bilinearly, before the argmax; None for the image's.
        classes: K names; class_0, class_1, ... by default.
        palette: [K, 3], RGB colours; PASCAL VOC's by default.
        transforms: PaddleSeg's val transforms as dicts. Of a Normalize among them `mean` and `std` are written in pixel
            values too.

    Raises:
        ExportError: Paddle or paddle2onnx cannot do it, more than 256 classes for 8-bit labels, names or colours that
            are not K.
        ValueError: an unknown format or output.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, expected 'paddle' or 'onnx'")
    if output not in OUTPUTS:
        raise ValueError(f"output is {output!r}, expected 'logits' or 'label'")
    if format == "onnx":
        check_paddle2onnx()
    model.eval()
    channels = image_channels(model)
    num_classes = _count_classes(model, channels)
    if output == "label" and num_classes > 256:
        raise ExportError(f"{num_classes} classes do not fit into 8-bit labels; export with output logits")
    classes, palette = _names_and_colours(num_classes, classes, palette)
    deploy = DeployFile.for_export(
        format=format,
        output=output,
        classes=classes,
        palette=palette,
        image_channels=channels,
        transforms=transforms,
    )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as draft_folder:
        draft = pathlib.Path(draft_folder)
        execution = ONNX_GRAPH if format == "onnx" else None
        spec = [paddle.static.InputSpec([None, channels, None, None], "float32", "x")]
        save_graph(_Exported(model, output, output_size, execution), draft / "model", spec, format)
        if format == "onnx":
            convert_to_onnx(draft, [output])
        deploy.with_checksums(draft).write(draft)
        for name in [*deploy.files, FILE_NAME]:
            os.replace(draft / name, folder / name)


def compare_with_eager(
    model: nn.Layer,
    folder: str | os.PathLike,
    runtime: str | None = None,
    sizes: Sequence[tuple[int, int, int]] = CHECKED_SIZES,
    *,
    output_size: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Runs an exported network and the model it was made of on random images of several sizes.

    Args:
        model: as given to export_model.
        folder: where that wrote to.
        runtime: a name of runtimes.RUNTIMES; None for the fastest one that reads the folder.
        sizes: (batch, height, width) of each.
        output_size: as given to export_model.

    Returns:
        A dict for each size: "size", "different_labels", the share of pixels; and of logits "max_difference", the
        largest, and "max_logit".
    """
    makes_labels = DeployFile.read(folder).makes_labels
    run = load_runtime(runtime or fastest_runtime(folder), folder)
    layer = _Exported(model, "logits", output_size)
    layer.eval()
    random = np.random.RandomState(0)
    rows: list[dict[str, Any]] = []
    for batch, height, width in sizes:
        images = random.standard_normal([batch, image_channels(model), height, width]).astype("float32")
        with paddle.no_grad():
            expected = layer(paddle.to_tensor(images)).numpy()
        got = run(images)
        row: dict[str, Any] = {"size": [batch, height, width]}
        labels = got if makes_labels else got.argmax(axis=1)
        row["different_labels"] = float((labels != expected.argmax(axis=1)).mean())
        if not makes_labels:
            row["max_difference"] = float(np.abs(got - expected).max())
            row["max_logit"] = float(np.abs(expected).max())
        rows.append(row)
    return rows


class _Exported(nn.Layer):
    """Makes the model's first output, resized and as labels if so asked.

    execution: how a PointRendSeg refines; None for the way it chooses itself.
    """

    def __init__(self, model, output, output_size, execution=None):
        super().__init__()
        self.model = model
        self.execution = execution
        self.makes_labels = output == "label"
        self.output_size = output_size

    def forward(self, x):
        if isinstance(self.model, PointRendSeg):
            if self.makes_labels and self.output_size is None:
                return self.model.predict_labels(x, self.execution).astype("uint8")
            logits = self.model.predict_logits(x, self.execution)
        else:
            outputs = self.model(x)
            logits = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
        if self.output_size is not None:
            logits = F.interpolate(logits, size=self.output_size, mode="bilinear", align_corners=False)
        return logits.argmax(axis=1).astype("uint8") if self.makes_labels else logits


@paddle.no_grad()
def _count_classes(model, channels):
    return _Exported(model, "logits", None)(paddle.zeros([1, channels, 64, 64])).shape[1]


def _names_and_colours(num_classes, classes, palette):
    """Returns the classes and palette of deploy.yaml, defaults where they are None. ExportError if they are not K."""
    classes = [f"class_{i}" for i in range(num_classes)] if classes is None else list(classes)
    if palette is None:
        palette = default_palette(num_classes)
    if not num_classes == len(classes) == len(palette):
        raise ExportError(f"the model has {num_classes} classes; got {len(classes)} names and {len(palette)} colours")
    return classes, palette
