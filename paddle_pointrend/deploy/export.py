"""Trained weights to a file that runs without their Python code: Paddle's inference format, or ONNX."""

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import paddle
import paddle.nn.functional as F
import yaml
from paddle import nn

from paddle_pointrend.deploy.runtimes import FORMATS, fastest_runtime, load_runtime, read_deploy_file
from paddle_pointrend.evaluation.visualize import default_palette
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.models.taps import image_channels
from paddle_pointrend.points.graph import ONNX_GRAPH

OUTPUTS = ("logits", "label")
ONNX_OPSET = 18
# Batch, height and width of the images that compare_with_eager runs: one whose sides all strides divide, one that none.
CHECKED_SIZES = ((1, 256, 384), (2, 185, 235))


class ExportError(ValueError):
    """A model that cannot be exported, or whose export does not compute what the model does."""


def export_model(
    model, folder, *, format, output="logits", output_size=None, classes=None, palette=None, transforms=()
):
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
    if format not in FORMATS.values():
        raise ValueError(f"format is {format!r}, expected 'paddle' or 'onnx'")
    if output not in OUTPUTS:
        raise ValueError(f"output is {output!r}, expected 'logits' or 'label'")
    if format == "onnx" and importlib.util.find_spec("paddle2onnx") is None:
        raise ExportError('paddle2onnx is not installed: pip install -c constraints.txt -e ".[onnx]"')
    model.eval()
    channels = image_channels(model)
    num_classes = _count_classes(model, channels)
    if output == "label" and num_classes > 256:
        raise ExportError(f"{num_classes} classes do not fit into 8-bit labels; export with output logits")
    deploy = _describe(format, output, num_classes, channels, classes, palette, transforms)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as draft:
        draft = pathlib.Path(draft)
        execution = ONNX_GRAPH if format == "onnx" else None
        _trace(_Exported(model, output, output_size, execution), draft / "model", channels, format)
        if format == "onnx":
            _to_onnx(draft, output)
        (draft / "deploy.yaml").write_text(yaml.safe_dump(deploy, sort_keys=False, allow_unicode=True))
        names = ["model.onnx"] if format == "onnx" else ["model.json", "model.pdiparams"]
        for name in [*names, "deploy.yaml"]:
            os.replace(draft / name, folder / name)


def compare_with_eager(model, folder, runtime=None, sizes=CHECKED_SIZES, *, output_size=None):
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
    makes_labels = read_deploy_file(folder)["output"] == "label"
    run = load_runtime(runtime or fastest_runtime(folder), folder)
    layer = _Exported(model, "logits", output_size)
    layer.eval()
    random, rows = np.random.RandomState(0), []
    for batch, height, width in sizes:
        images = random.standard_normal([batch, image_channels(model), height, width]).astype("float32")
        with paddle.no_grad():
            expected = layer(paddle.to_tensor(images)).numpy()
        got = run(images)
        row = {"size": [batch, height, width]}
        labels = got if makes_labels else got.argmax(axis=1)
        row["different_labels"] = float((labels != expected.argmax(axis=1)).mean())
        if not makes_labels:
            row["max_difference"] = float(np.abs(got - expected).max())
            row["max_logit"] = float(np.abs(expected).max())
        rows.append(row)
    return rows


class _Exported(nn.Layer):
    """The model's first output, resized and as labels if so asked.

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


def _describe(format, output, num_classes, channels, classes, palette, transforms):
    """What deploy.yaml holds; `Deploy` is PaddleSeg's part of it."""
    classes = [f"class_{i}" for i in range(num_classes)] if classes is None else list(classes)
    if palette is None:
        palette = np.resize(default_palette(min(num_classes, 255)), (num_classes, 3))
    palette = np.asarray(palette).tolist()
    if not num_classes == len(classes) == len(palette):
        raise ExportError(f"the model has {num_classes} classes; got {len(classes)} names and {len(palette)} colours")
    transforms = [dict(transform) for transform in transforms]
    files = {"model": "model.onnx"} if format == "onnx" else {"model": "model.json", "params": "model.pdiparams"}
    return {
        "Deploy": {
            **files,
            "transforms": transforms,
            "input_shape": [-1, channels, -1, -1],
            "output_op": "argmax" if output == "label" else "none",
            "output_dtype": "uint8" if output == "label" else "float32",
        },
        "format": format,
        "output": output,
        "num_classes": num_classes,
        "classes": classes,
        "palette": palette,
        "channels": "bgr" if any(transform["type"] == "RGBToBGR" for transform in transforms) else "rgb",
        **_normalization(transforms, channels),
    }


def _normalization(transforms, channels):
    """mean and std of the network's input in pixel values: input = (pixel - mean) / std."""
    normalize = next((transform for transform in transforms if transform["type"] == "Normalize"), None)
    if normalize is None:
        return {"mean": [0.0] * channels, "std": [1.0] * channels}
    halves = [0.5] * channels  # PaddleSeg's default
    mean, std = (np.asarray(normalize.get(key, halves), "float64") * 255 for key in ("mean", "std"))
    return {"mean": mean.tolist(), "std": std.tolist()}


def _trace(layer, path, channels, format):
    """Paddle's inference format at path.json and path.pdiparams."""
    spec = [paddle.static.InputSpec([None, channels, None, None], "float32", "x")]
    layer.eval()
    with contextlib.ExitStack() as replaced:
        replaced.enter_context(_replaced(F, "interpolate", _with_size_for_scale_factor))
        if format == "onnx":
            replaced.enter_context(_replaced(F, "adaptive_avg_pool2d", _with_products_for_cells))
            replaced.enter_context(_replaced(paddle.nn.layer.norm, "layer_norm", _with_means_over_axes))
        try:
            paddle.jit.save(paddle.jit.to_static(layer, input_spec=spec, full_graph=True), str(path))
        except Exception as error:  # whatever Python code of others makes Paddle's tracer raise
            raise ExportError(f"Paddle cannot trace {type(layer.model).__name__}: {error}") from error


@contextlib.contextmanager
def _replaced(module, name, wrap):
    """Inside, wrap(the function) stands in the place of a module's function."""
    before = getattr(module, name)
    setattr(module, name, wrap(before))
    try:
        yield
    finally:
        setattr(module, name, before)


def _with_size_for_scale_factor(interpolate):
    """interpolate, where a whole factor is traced as the size that it leads to.

    paddle2onnx 2.1.0 does not read the scale factors that Paddle 3.3 writes ("the 0th elementwise MUST be
    ir::FloatAttribute"). The result is the same.
    """

    def with_size(x, size=None, scale_factor=None, *args, **kwargs):
        factors = scale_factor if isinstance(scale_factor, (list, tuple)) else [scale_factor] * (x.ndim - 2)
        if size is None and all(isinstance(f, (int, float)) and f == int(f) for f in factors):
            sizes = paddle.shape(x)[2:]
            size, scale_factor = [sizes[i] * int(f) for i, f in enumerate(factors)], None
        return interpolate(x, size, scale_factor, *args, **kwargs)

    return with_size


def _with_products_for_cells(adaptive_avg_pool2d):
    """adaptive_avg_pool2d, where more than one cell is traced as two matrix products.

    paddle2onnx 2.1.0 converts it for maps of a fixed size only. The result is the same but for rounding.
    """

    def as_products(x, output_size, data_format="NCHW", name=None):
        counts = [output_size] * 2 if isinstance(output_size, int) else [output_size[0], output_size[1]]
        if data_format != "NCHW" or all(isinstance(count, int) and count == 1 for count in counts):
            return adaptive_avg_pool2d(x, output_size, data_format, name)
        for axis, count in zip((2, 3), counts):
            if count is not None:
                means = _cell_means(paddle.shape(x)[axis].astype("int64"), count).astype(x.dtype)
                x = paddle.matmul(means, x) if axis == 2 else paddle.matmul(x, means, transpose_y=True)
        return x

    return as_products


def _cell_means(size, count):
    """float32 [count, size]: its rows take means of cells, floor(i * size / count) to ceil((i + 1) * size / count)."""
    pixels, cells = paddle.arange(size, dtype="int64"), paddle.arange(count, dtype="int64").unsqueeze(1)
    first, end = cells * size // count, ((cells + 1) * size + count - 1) // count
    inside = paddle.logical_and(pixels >= first, pixels < end)
    return inside.astype("float32") / (end - first).astype("float32")


def _with_means_over_axes(layer_norm):
    """layer_norm, where a norm over more than one axis is traced step by step.

    paddle2onnx 2.1.0 writes its weight as one axis, which then does not fit.
    """

    def step_by_step(x, normalized_shape, weight=None, bias=None, epsilon=1e-05, name=None):
        shape = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
        if len(shape) == 1:
            return layer_norm(x, normalized_shape, weight, bias, epsilon, name)
        axes = list(range(-len(shape), 0))
        x = x - x.mean(axes, keepdim=True)
        x = x / (x.square().mean(axes, keepdim=True) + epsilon).sqrt()
        x = x if weight is None else x * weight.reshape(shape)
        return x if bias is None else x + bias.reshape(shape)

    return step_by_step


def _to_onnx(folder, output):
    """model.json and model.pdiparams in a folder to model.onnx, its output named as what it is."""
    import onnx

    files = [str(folder / name) for name in ("model.json", "model.pdiparams", "draft.onnx")]
    # In a process of its own, because paddle2onnx 2.1.0 ends its process where it cannot convert an operator. Its
    # default optimizer installs packages when it runs, NumPy 2 among them.
    call = f"paddle2onnx.export(*sys.argv[1:], opset_version={ONNX_OPSET}, optimize_tool='None')"
    command = [sys.executable, "-c", f"import sys, paddle2onnx; {call}", *files]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode or not os.path.exists(files[-1]):
        raise ExportError(f"paddle2onnx cannot convert the model, format paddle may do: {_reasons(done.stdout)}")
    model = onnx.load(files[-1])
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"paddle2onnx writes an invalid model, format paddle may do: {error}") from error
    _rename_output(model.graph, output)
    onnx.save(model, str(folder / "model.onnx"))


def _reasons(printed):
    """What paddle2onnx calls errors in what it printed, or else the end of it."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line.split("]", 2)[-1].strip() for line in lines if line.startswith("[ERROR]")]
    return " ".join(errors or lines[-3:])


def _rename_output(graph, name):
    before = graph.output[0].name
    graph.output[0].name = name
    for node in graph.node:
        for names in (node.input, node.output):
            for i, value in enumerate(names):
                if value == before:
                    names[i] = name
