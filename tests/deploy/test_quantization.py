"""Quantised networks: 8 bits where they should be, float32 where they should be, against references of their own."""

import copy

import numpy as np
import paddle
import pytest
import yaml
from tiny_pointrend import small_model, spread_predictor

from paddle_pointrend import Predictor
from paddle_pointrend.deploy import quantization
from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.export import export_model
from paddle_pointrend.deploy.onnx_edits import extract, load_folded
from paddle_pointrend.deploy.onnx_parts import find_parts
from paddle_pointrend.deploy.precision_comparison import compare_precisions
from paddle_pointrend.deploy.runtimes import RuntimeLoadError, fastest_runtime, load_runtime

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
for package in ("paddle2onnx", "ml_dtypes"):
    pytest.importorskip(package)

SIZES = [(64, 96), (64, 96), (45, 70)]


def images_of(sizes, seed=0):
    random = np.random.default_rng(seed)
    return [random.standard_normal((1, 3, *size)).astype("float32") for size in sizes]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(a small PointRendSeg, its export in float32, in int8, what quantize_export returned)."""
    paddle.seed(0)
    model = spread_predictor(small_model(num_classes=5))
    folder = tmp_path_factory.mktemp("quantised")
    export_model(model, folder / "float32", format="onnx")
    (folder / "int8").mkdir()
    done = quantization.quantize_export(folder / "float32", folder / "int8", images_of(SIZES), progress=False)
    return model, folder / "float32", folder / "int8", done


def initialisers(model):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def convolutions(model):
    return {node.name: node for node in model.graph.node if node.op_type == "Conv"}


def run_in_onnxruntime(model, image):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": image})


def dequantised_weights(model, name):
    """(float weights, integers, scales) of a convolution, by NumPy; None for one whose weights are in float32."""
    arrays, makers = initialisers(model), {node.output[0]: node for node in model.graph.node}
    weight = convolutions(model)[name].input[1]
    if weight in arrays:
        return None
    integers, scales, zeros = (arrays[part] for part in makers[weight].input)
    assert not zeros.any()
    return integers * scales.reshape(-1, 1, 1, 1), integers, scales


def test_weights_are_rounded_to_7_bits_by_output_channel(case):
    _, float32, int8, done = case
    before, after = load_folded(float32 / "model.onnx"), onnx.load(int8 / "model.onnx")
    parts, weights = find_parts(before), initialisers(before)
    quantised = [name for name in parts.layers if name not in done.float32_layers]
    assert len(quantised) == done.int8_layers > 10
    for name in quantised:
        found, integers, scales = dequantised_weights(after, name)
        expected = weights[convolutions(before)[name].input[1]]
        assert integers.dtype == np.int8 and np.abs(integers.astype(int)).max() <= 64
        assert scales.shape == expected.shape[:1]
        assert (np.abs(found - expected) <= scales.reshape(-1, 1, 1, 1) * 0.501).all()
        # The largest weight of each channel takes the whole range, where the bias did not ask for a larger scale.
        assert np.median(np.abs(integers.reshape(len(integers), -1).astype(int)).max(axis=1)) >= 63


def test_classifiers_and_point_head_are_in_float32(case):
    model, float32, int8, done = case
    before, after = load_folded(float32 / "model.onnx"), onnx.load(int8 / "model.onnx")
    parts = find_parts(before)
    in_float = set(convolutions(after)) - set(parts.layers)
    assert len(parts.classifiers) == 4  # SemanticFPN has its classifier on each level
    # Each of two steps of subdivision: three layers, a predictor and the identity that fills up channels.
    assert len(in_float - set(parts.classifiers)) == 2 * 5
    weights = initialisers(before)
    for name in in_float | set(done.float32_layers):
        assert dequantised_weights(after, name) is None
        assert np.array_equal(
            initialisers(after)[convolutions(after)[name].input[1]], weights[convolutions(before)[name].input[1]]
        )
    classifier = model.segmentor.head.classifier.weight.numpy()
    for name in parts.classifiers:
        assert np.array_equal(weights[convolutions(before)[name].input[1]], classifier)


def optimised_by_onnxruntime(file, folder):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def test_onnxruntime_computes_in_int8_what_is_quantised(case, tmp_path):
    *_, int8, done = case
    optimised = optimised_by_onnxruntime(int8 / "model.onnx", tmp_path)
    assert [node.op_type for node in optimised.graph.node].count("QLinearConv") == done.int8_layers


def test_onnxruntime_leaves_a_float32_layer_between_quantised_ones_alone(case, tmp_path):
    """By itself it rounds these weights too, to multiples of one scale for all channels."""
    _, float32, _, _ = case
    model = load_folded(float32 / "model.onnx")
    parts = find_parts(model)
    coarse = extract(model, parts.maps)
    ranges = quantization.calibrate(coarse, images_of(SIZES), progress=False)
    name = parts.layers[2]
    quantised = quantization.quantize(coarse, ranges, [layer for layer in parts.layers if layer != name])
    onnx.save(quantised, str(tmp_path / "quantised.onnx"))
    optimised = optimised_by_onnxruntime(tmp_path / "quantised.onnx", tmp_path)
    expected = initialisers(model)[convolutions(model)[name].input[1]]
    weights = initialisers(optimised)
    float_weights = [weights.get(node.input[1]) for node in optimised.graph.node if node.op_type.endswith("Conv")]
    assert any(np.array_equal(weight, expected) for weight in float_weights)


def test_refinement_is_float32_on_dequantised_maps(case):
    model, _, int8, _ = case
    network = onnx.load(int8 / "model.onnx")
    parts = find_parts(network)
    (fine,) = (name for name in parts.maps if name != parts.coarse_logits)
    for image in images_of([(64, 96), (33, 50)], seed=1):
        maps = run_in_onnxruntime(extract(network, [parts.coarse_logits, fine]), image)
        with paddle.no_grad():
            expected = model.refine(*(paddle.to_tensor(maps[0]), [paddle.to_tensor(maps[1])]), image.shape[2:])
        found = load_runtime("onnxruntime", int8)(image)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_the_backbone_is_that_of_onnx_own_evaluator(case):
    from onnx.reference import ReferenceEvaluator

    _, float32, int8, _ = case
    network, parts = onnx.load(int8 / "model.onnx"), find_parts(load_folded(float32 / "model.onnx"))
    after_backbone = convolutions(network)[parts.layers[5]].input[0]  # the stem and four stages come before
    backbone = extract(network, [after_backbone])
    backbone.opset_import[0].version = 19  # the evaluator has these operators from there on
    (image,) = images_of([(64, 96)], seed=2)
    (expected,) = ReferenceEvaluator(backbone).run(None, {"x": image})
    (found,) = run_in_onnxruntime(backbone, image)
    step = np.unique(expected[expected > 0]).min()
    assert expected.max() > 30 * step and found.shape == (1, 6, 2, 3)
    assert np.abs(found - expected).max() < 1.1 * step  # a sum between two steps may be rounded either way


def test_labels_are_almost_those_of_float32_in_each_runtime_for_any_size(case):
    _, float32, int8, _ = case
    runtimes = [load_runtime(name, int8) for name in ("onnxruntime", "openvino") if pytest.importorskip(name)]
    reference = load_runtime("onnxruntime", float32)
    between = []
    for image in images_of([(64, 96), (45, 70), (64, 96), (80, 64)], seed=3):
        expected = reference(image).argmax(axis=1)
        first, second = (runtime(image).argmax(axis=1) for runtime in runtimes)
        assert (first != expected).mean() < 0.1  # random weights: many pixels lie between classes
        between.append((first != second).mean())
        assert between[-1] < 0.1
    assert np.mean(between) < 0.03


def test_the_worst_layer_is_found_and_stays_in_float32(case, monkeypatch):
    _, float32, _, _ = case
    model = load_folded(float32 / "model.onnx")
    parts, arrays = find_parts(model), initialisers(model)
    # One channel of the stem 2000 times as large, and the next layer that much less of it: the same network in floats,
    # but all other channels of that map are within one step of the rounding.
    stem, following = (convolutions(model)[name] for name in parts.layers[:2])
    changed = {name: arrays[name].copy() for name in (*stem.input[1:], following.input[1])}
    changed[stem.input[1]][0] *= 2000
    changed[stem.input[2]][0] *= 2000
    changed[following.input[1]][:, 0] /= 2000
    for tensor in model.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed[tensor.name], tensor.name))
    images = images_of(SIZES)
    coarse = extract(model, parts.maps)
    ranges = quantization.calibrate(coarse, images, progress=False)
    monkeypatch.setattr(quantization, "MOST_FLOAT_LAYERS", 0.2)
    found = quantization.find_sensitive_layers(coarse, parts, ranges, images, progress=False)
    assert set(found[:2]) == {stem.name, following.name}  # the second reads what the first makes
    logits = extract(coarse, [parts.coarse_logits])
    (expected,) = run_in_onnxruntime(logits, images[0])

    def error(layers):
        (quantised,) = run_in_onnxruntime(quantization.quantize(logits, ranges, layers), images[0])
        return np.square(quantised - expected).mean()

    assert error([name for name in parts.layers if name not in found]) < error(parts.layers) / 20


def test_calibration_cuts_off_outliers(case):
    _, float32, _, _ = case
    model = load_folded(float32 / "model.onnx")
    images = images_of([(512, 512)])
    images[0][0, 0, 0, 0] = 1e4
    ranges = quantization.calibrate(extract(model, find_parts(model).maps), images, progress=False)
    low, high = ranges["x"].range_value
    expected = np.percentile(images[0], [0.0005, 99.9995])
    assert (low, high) == pytest.approx(tuple(expected), abs=10)  # the histogram's bins are 10 wide


def test_of_large_images_a_part_is_taken(monkeypatch):
    monkeypatch.setattr(quantization, "_SIDE", 16)
    images = images_of([(16, 40), (10, 12), (30, 17)])
    crops = quantization._crops(images)
    assert [crop.shape for crop in crops] == [(1, 3, 16, 16), (1, 3, 10, 12), (1, 3, 16, 16)]
    for image, crop in zip(images, crops):
        height, width = crop.shape[2:]
        windows = np.lib.stride_tricks.sliding_window_view(image[0, 0], (height, width))
        assert (windows == crop[0, 0]).all(axis=(2, 3)).sum() == 1
    assert not np.array_equal(crops[0], images[0][:, :, :16, :16])


def test_the_folder_says_how_it_was_quantised(case):
    _, float32, int8, done = case
    deploy, before = (yaml.safe_load((folder / "deploy.yaml").read_text()) for folder in (int8, float32))
    assert deploy["precision"] == "int8" and before["precision"] == "fp32"
    assert deploy["quantization"] == {
        "images": 3,
        "calibrator": "percentile 99.999",
        "int8_layers": done.int8_layers,
        "float32_layers": done.float32_layers,
        "different_coarse_labels": done.different_coarse_labels,
    }
    assert 0 < done.different_coarse_labels < 0.1
    same = copy.deepcopy(before)
    for content in (deploy, same):
        for key in ("precision", "quantization", "sha256"):
            content.pop(key, None)
    assert deploy == same


def test_compares_both_in_each_runtime(case):
    _, float32, int8, _ = case
    rows = compare_precisions(float32, int8, images_of([(64, 96)]))
    assert [row["runtime"] for row in rows][-1] == "onnxruntime"
    for row in rows:
        assert row["different_labels"] < 0.1
        assert row["time"] > 0 and row["int8_seconds"] > 0 and row["float32_seconds"] > 0


def test_a_folder_runs_in_its_own_precision_or_not_at_all(case):
    _, float32, int8, _ = case
    assert fastest_runtime(int8) in ("openvino", "onnxruntime")
    image = images_of([(64, 96)])[0]
    assert np.array_equal(
        load_runtime("onnxruntime", int8)(image), load_runtime("onnxruntime", int8, precision="int8")(image)
    )
    assert Predictor(int8).predict(np.zeros((64, 96, 3), np.uint8)).shape == (64, 96)
    for precision in ("fp32", "bf16"):
        with pytest.raises(RuntimeLoadError, match=f"is in int8, for {precision} export without --precision int8"):
            Predictor(int8, runtime="openvino", precision=precision)
    with pytest.raises(RuntimeLoadError, match="is not quantised, for int8 export with --precision int8 --calibration"):
        Predictor(float32, precision="int8")
    with pytest.raises(ValueError, match="paddle-inference does not compute in int8 here, only openvino, onnxruntime"):
        load_runtime("paddle-inference", int8, precision="int8")


def test_a_network_without_point_head(tmp_path):
    paddle.seed(0)
    segmentor = spread_predictor(small_model(num_classes=5)).segmentor
    export_model(segmentor, tmp_path, format="onnx", output="label")
    (tmp_path / "int8").mkdir()
    done = quantization.quantize_export(
        tmp_path, tmp_path / "int8", images_of(SIZES), sensitivity=False, progress=False
    )
    assert done.different_coarse_labels is None and done.float32_layers == []
    image = images_of([(50, 64)])[0]
    found, expected = (load_runtime("onnxruntime", folder)(image) for folder in (tmp_path / "int8", tmp_path))
    assert found.dtype == np.uint8 and (found != expected).mean() < 0.1


def test_mistakes(case, tmp_path, monkeypatch):
    class Mean(paddle.nn.Layer):
        def forward(self, x):
            return [paddle.concat([x.mean(axis=1, keepdim=True), x], axis=1)]

    export_model(Mean(), tmp_path, format="onnx")
    with pytest.raises(ExportError, match="has no convolutions to quantise"):
        quantization.quantize_export(tmp_path, tmp_path, images_of(SIZES), progress=False)
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None if name == "ml_dtypes" else name)
    with pytest.raises(ExportError, match=r'ml_dtypes: not installed; pip install .* -e "\.\[int8\]"'):
        quantization.quantize_export(case[1], tmp_path, images_of(SIZES), progress=False)
