"""Images smaller than a network's stride, or than its pooling windows: eager Paddle's results, or an error."""

import numpy as np
import paddle
import pytest
from conftest import write_config, write_tiny_dataset
from paddleseg.cvlibs import Config, SegBuilder
from tiny_pointrend import small_model, spread_predictor

from paddle_pointrend.deploy.errors import ImageSizeError
from paddle_pointrend.deploy.export import compare_with_eager, export_model
from paddle_pointrend.deploy.runtimes import load_runtime


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """ResNet18_vd, whose shortcuts pool 2x2, under SemanticFPN and PointRendSeg; (folder, layer)."""
    pytest.importorskip("paddle2onnx")
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("small")
    config = write_config(folder / "config.yml", write_tiny_dataset(folder / "data"), "PointRendSeg")
    paddle.seed(0)
    model = SegBuilder(Config(str(config))).model
    for layer in (model.segmentor.head.classifier, model.point_head.predictor):
        layer.weight.set_value(paddle.randn(layer.weight.shape))
    export_model(model, folder / "onnx", format="onnx")
    return folder / "onnx", model


def test_openvino_gives_right_labels_or_an_error_at_every_size(exported):
    folder, model = exported
    runtimes = [load_runtime(name, folder) for name in ("openvino", "onnxruntime")]
    refused = []
    # One after the other: after a size that does not fit the network gave its last output, and then wrong ones.
    for size in [(64, 64), (16, 16), (32, 32), (16, 40), (17, 17), (64, 12), (15, 33), (18, 64), (64, 64)]:
        images = np.random.RandomState(0).standard_normal((1, 3, *size)).astype("float32")
        with paddle.no_grad():
            expected = model(paddle.to_tensor(images))[0].numpy().argmax(axis=1)
        for runtime in runtimes:
            try:
                labels = runtime(images).argmax(axis=1)
            except ImageSizeError as error:
                refused.append(str(error))
                continue
            assert labels.shape == expected.shape
            if min(size) > 16:
                assert (labels != expected).mean() < 1e-3
    assert refused == [
        f"OpenVINO cannot run this network on images of {size}: take larger ones, or onnxruntime"
        for size in ("16x16", "40x16", "12x64", "33x15")
    ]


@pytest.mark.parametrize("output", ["logits", "label"])
def test_images_of_one_row_or_column_are_refined_as_in_eager_mode(tmp_path, output):
    pytest.importorskip("paddle2onnx")
    paddle.seed(4)
    model = spread_predictor(small_model(num_subdivision_points=10_000))  # all, so that no last bit decides
    for parameter in model.point_head.parameters():  # biases too: without them the labels are the same everywhere
        parameter.set_value(paddle.randn(parameter.shape))
    export_model(model, tmp_path, format="onnx", output=output)
    sizes = [(1, 1, 1), (1, 1, 7), (1, 7, 1), (2, 1, 40), (1, 2, 3)]
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime)
        for row in compare_with_eager(model, tmp_path, runtime, sizes):
            assert row["different_labels"] == 0, row
            assert output == "label" or row["max_difference"] < 1e-5 * row["max_logit"], row
