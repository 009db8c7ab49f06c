"""Quantises the coarse network of an exported ONNX network to 8 bits; the point head stays in float32.

Post-training quantisation by onnxruntime.quantization, which puts QuantizeLinear and DequantizeLinear around
convolutions (QDQ): activations in 8 bits without sign, their ranges read off calibration images; weights in 7 bits with
a sign, a scale for each output channel. Seven, because processors with AVX2 and without VNNI add two products in 16
bits: 2 * 255 * 127 does not fit there, 2 * 255 * 64 does. So one file is right on all of them.

Layers whose quantisation disturbs the coarse logits most stay in float32, see `find_sensitive_layers`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.util
import io
import logging
import os
import pathlib
import tempfile
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from paddle_pointrend.deploy.deploy_file import FILE_NAME, DeployFile
from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.onnx_edits import extract, keep_weights_in_float, lift_size_concats, load_folded
from paddle_pointrend.deploy.onnx_parts import Parts, find_parts

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime.quantization import TensorsData

MOST_IMAGES = 16  # to calibrate with
PERCENTILE = 99.999  # of the values of an activation its range holds
# Layers stay in float32, worst first, until the noise of the coarse logits (its power over theirs) is below this, but
# not more than this share of the layers: the rest is then noise of all layers alike.
MOST_NOISE = 1e-3
MOST_FLOAT_LAYERS = 0.1
_SENSITIVITY_IMAGES = 4
_SIDE = 512  # of larger images a part is taken: calibrating holds all maps of one in memory
_QUANTISED_TYPES = ["Conv", "Relu", "Clip"]  # an activation's range makes its ReLU part of the rounding


def check_quantization() -> None:
    """Raises ExportError, which says how to install them, where the packages that quantise are not installed."""
    missing = [name for name in ("onnx", "onnxruntime", "ml_dtypes") if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f'{", ".join(missing)}: not installed; pip install -c constraints.txt -e ".[int8]"')


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How a network was quantised, for its deploy.yaml.

    Attributes:
        images: that it was calibrated with.
        calibrator: how ranges were read off them.
        int8_layers: how many convolutions are quantised.
        float32_layers: names, in model.onnx, of those that the sensitivity pass left in float32; classifiers and the
            point head are in float32 anyway.
        different_coarse_labels: the share of coarse labels that differ from float32's on these images; None of a
            network without a point head.
    """

    images: int
    calibrator: str
    int8_layers: int
    float32_layers: list[str]
    different_coarse_labels: float | None


def quantize_export(
    source: str | os.PathLike,
    target: str | os.PathLike,
    images: Sequence[np.ndarray],
    *,
    sensitivity: bool = True,
    progress: bool = True,
) -> Quantization:
    """Writes an exported folder's network into another folder, quantised.

    Args:
        source: what export_model wrote in format "onnx".
        target: a folder that exists.
        images: inputs of the network, float32 [1, C, H, W] of any H and W, as varied as what it will see; not those
            that it is measured on.
        sensitivity: whether to look for layers that had better stay in float32, which takes most of the time.
        progress: whether to show progress bars.

    Raises:
        ExportError: packages are missing, or there is nothing to quantise.
    """
    check_quantization()
    import onnx

    deploy = DeployFile.read(source)
    model = load_folded(pathlib.Path(source) / deploy.files[0])
    parts = find_parts(model)
    if not parts.layers:
        raise ExportError("the network has no convolutions to quantise: export it without --precision int8")
    coarse, crops = extract(model, parts.maps), _crops(images)
    ranges = calibrate(coarse, crops, progress=progress)
    float_layers = find_sensitive_layers(coarse, parts, ranges, crops, progress=progress) if sensitivity else []
    int8_layers = [name for name in parts.layers if name not in float_layers]
    quantised = quantize(model, ranges, int8_layers)
    lift_size_concats(quantised)
    different = None
    if parts.coarse_logits is not None:
        both = [extract(network, [parts.coarse_logits]) for network in (coarse, quantised)]
        different = _different_labels(*(_run(network, images) for network in both))
    done = Quantization(len(images), f"percentile {PERCENTILE}", len(int8_layers), float_layers, different)
    with tempfile.TemporaryDirectory(dir=target, prefix=".quantize-") as folder:
        draft = pathlib.Path(folder)
        onnx.save(quantised, str(draft / deploy.files[0]))
        described = dataclasses.replace(deploy, precision="int8", quantization=dataclasses.asdict(done))
        described.with_checksums(draft).write(draft)
        for name in [*deploy.files, FILE_NAME]:
            os.replace(draft / name, pathlib.Path(target) / name)
    return done


def calibrate(model: ModelProto, images: Sequence[np.ndarray], *, progress: bool = True) -> TensorsData:
    """Reads the ranges of activations off images: of each what lies between the two outer percentiles.

    Memory holds all maps of one image at a time.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    name = model.graph.input[0].name
    with tempfile.TemporaryDirectory() as folder, _silence():
        file = pathlib.Path(folder) / "coarse.onnx"
        onnx.save(model, str(file))
        calibrator = create_calibrator(
            file,
            _QUANTISED_TYPES,
            augmented_model_path=str(file.with_name("augmented.onnx")),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"symmetric": False, "percentile": PERCENTILE},
        )
        for image in tqdm(images, "calibrating", unit="image", disable=not progress):
            calibrator.collect_data(_Reader({name: image}))
        return calibrator.compute_data()


class _Reader:
    """One input of a network, in the form that onnxruntime.quantization reads."""

    def __init__(self, feeds: dict[str, np.ndarray]):
        self._feeds: dict[str, np.ndarray] | None = feeds

    def get_next(self):
        feeds, self._feeds = self._feeds, None
        return feeds


def find_sensitive_layers(
    coarse: ModelProto, parts: Parts, ranges: TensorsData, images: Sequence[np.ndarray], *, progress: bool = True
) -> list[str]:
    """Finds the layers that hurt most: names, worst first.

    Each layer is quantised alone, and what that changes in the coarse logits is its noise. Noises of layers add up, so
    the worst stay in float32 until what is left is below MOST_NOISE, or until they are MOST_FLOAT_LAYERS of all.

    Args:
        coarse: the coarse network.
        parts: of the network.
        ranges: of its activations.
        images: of which some are taken, evenly.
    """
    wanted = [parts.coarse_logits] if parts.coarse_logits else parts.maps
    network = extract(coarse, wanted)
    some = evenly(images, _SENSITIVITY_IMAGES)
    expected = _run(network, some)
    inside = {node.name for node in network.graph.node}
    layers = [name for name in parts.layers if name in inside]
    noises = {
        name: _noise(_run(quantize(network, ranges, [name]), some), expected)
        for name in tqdm(layers, "looking for sensitive layers", unit="layer", disable=not progress)
    }
    left, sensitive = sum(noises.values()), []
    for name in sorted(layers, key=noises.__getitem__, reverse=True)[: int(MOST_FLOAT_LAYERS * len(layers))]:
        if left <= MOST_NOISE:
            break
        sensitive.append(name)
        left -= noises[name]
    return sensitive


def quantize(model: ModelProto, ranges: TensorsData, layers: Collection[str]) -> ModelProto:
    """Makes a network whose convolutions of these names are quantised."""
    from onnxruntime.quantization import QDQQuantizer, QuantType, TensorsData

    readers = {name: node for node in model.graph.node for name in node.input[:1]}
    activations = [
        readers[node.output[0]].name
        for node in model.graph.node
        if node.name in layers and node.output[0] in readers and readers[node.output[0]].op_type in _QUANTISED_TYPES[1:]
    ]
    quantizer = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=True,  # the 7 bits
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(ranges.calibration_method, dict(ranges.data)),  # it changes them
        nodes_to_quantize=[*layers, *activations],
        nodes_to_exclude=[],
        op_types_to_quantize=_QUANTISED_TYPES,
        extra_options={},
    )
    with _silence():
        quantizer.quantize_model()
    keep_weights_in_float(quantizer.model.model)
    quantizer.model.topological_sort()
    return quantizer.model.model


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """Picks at most so many of the items, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[place] for place in places]


@contextlib.contextmanager
def _silence():
    """Keeps what onnxruntime.quantization prints and logs about each tensor to itself."""
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


def _run(model, images):
    """The network's outputs of each image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {model.graph.input[0].name: image}) for image in images]


def _noise(found, expected):
    """The power of the difference over the power of what is expected."""
    pairs = [pair for outputs in zip(found, expected) for pair in zip(*outputs)]
    return sum(np.square(a - b).sum() for a, b in pairs) / sum(np.square(b).sum() for _, b in pairs)


def _different_labels(found, expected):
    """The share of labels that differ between first outputs, logits."""
    return float(np.mean([(a[0].argmax(axis=1) != b[0].argmax(axis=1)).mean() for a, b in zip(found, expected)]))


def _crops(images):
    """Parts of images [N, C, H, W] at random places, _SIDE each way or the whole of a smaller one."""
    random = np.random.default_rng(0)
    crops = []
    for image in images:
        y, x = (random.integers(max(0, size - _SIDE) + 1) for size in image.shape[2:])
        crops.append(np.ascontiguousarray(image[:, :, y : y + _SIDE, x : x + _SIDE]))
    return crops
