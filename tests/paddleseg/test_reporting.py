"""What a report chooses to show, and the trace of an image whose transforms change its size."""

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import SegBuilder
from paddleseg.transforms import Compose, Normalize, Padding, Resize

from paddle_pointrend.app.networks import TracedNetwork
from paddle_pointrend.data.images import read_image
from paddle_pointrend.evaluation.confusion_tables import confusion_tables
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.paddleseg.configs import build, load_config
from paddle_pointrend.paddleseg.evaluation import trace_sample
from paddle_pointrend.paddleseg.models import load_model
from paddle_pointrend.paddleseg.preprocessing import Preprocessing
from paddle_pointrend.paddleseg.reading import CheckedCompose
from paddle_pointrend.paddleseg.reporting import chosen_images, measure_run


@pytest.fixture
def run(trained, varied_weights):
    config = load_config(trained.config)
    return load_model(config, varied_weights), build(SegBuilder(config), trained.config, "val_dataset")


def test_a_run_is_measured_whole_and_image_by_image(run):
    model, dataset = run
    measures = measure_run(model, dataset)
    for name, column in (("coarse", 0), ("refined", 1)):
        whole = SegmentationMetrics(dataset.num_classes)
        for i in range(len(dataset)):
            sample, alone = trace_sample(model, dataset, i), SegmentationMetrics(dataset.num_classes)
            alone.update(getattr(sample, name), sample.truth)
            whole.merge(alone)
            state = alone.state()
            expected = state["boundary_intersection"].sum() / state["boundary_union"].sum()
            assert measures.image_scores[i, column] == pytest.approx(expected, abs=1e-12)
        assert measures.summaries[name] == whole.summary()
        np.testing.assert_array_equal(measures.confusions[name], whole.state()["confusion"])


@pytest.mark.parametrize(
    ("gains", "count", "chosen"),
    [
        ([0.1, -0.2, 0.3, -0.1, 0.0], 1, [2, 1]),
        ([0.1, -0.2, 0.3, -0.1, 0.0], 4, [2, 0, 1, 3]),
        ([0.0, 0.0, float("nan")], 2, [0, 1]),
        ([0.2], 4, [0]),
    ],
)
def test_the_images_that_gain_and_lose_most_are_shown_once_each(gains, count, chosen):
    scores = np.stack([np.zeros(len(gains)), gains], axis=1)
    assert chosen_images(scores, count) == chosen


@pytest.mark.parametrize(
    ("scores", "count", "chosen"),
    [
        ([0.5, 0.1, 0.9, 0.3], 1, [2, 1]),
        ([0.5, 0.1, 0.9], 2, [2, 0, 1]),
        ([float("nan"), 0.2, 0.1], 2, [1, 2]),
        ([float("nan")] * 3, 2, [0, 1]),
    ],
)
def test_of_one_prediction_the_best_and_the_worst_images_are_shown(scores, count, chosen):
    assert chosen_images(np.array(scores)[:, None], count) == chosen


def test_a_run_with_one_prediction_is_measured_image_by_image(trained):
    config = load_config(trained.plain_config)
    model, dataset = build(SegBuilder(config), trained.plain_config, "model"), None
    model.eval()
    dataset = build(SegBuilder(config), trained.plain_config, "val_dataset")
    measures = measure_run(model, dataset)
    confusion = np.zeros((dataset.num_classes,) * 2, np.int64)
    for i in range(len(dataset)):
        sample, alone = trace_sample(model, dataset, i), SegmentationMetrics(dataset.num_classes)
        assert sample.coarse is None and sample.steps == []
        alone.update(sample.refined, sample.truth)
        assert measures.image_scores[i].tolist() == [pytest.approx(alone.summary()["miou"], abs=1e-12)]
        confusion += alone.state()["confusion"]
    np.testing.assert_array_equal(measures.confusions["prediction"], confusion)


def test_points_of_a_padded_image_lie_where_they_were_predicted(run):
    model, dataset = run
    plain = trace_sample(model, dataset, 0)
    # Twice as large, and padded to the right and below by as much again: half of each direction is the image.
    transforms = [Resize([128, 128]), Padding([256, 256]), Normalize()]
    dataset.transforms = CheckedCompose(Compose(transforms))
    traced = trace_sample(model, dataset, 0)
    assert traced.coarse.shape == traced.refined.shape == plain.truth.shape
    steps = model.trace(paddle.to_tensor(dataset[0]["img"]).unsqueeze(0)).steps
    for step, shown in zip(steps, traced.steps):
        np.testing.assert_allclose(shown.coords, 2 * step.coords[0].numpy(), rtol=1e-6)


def test_the_report_and_the_page_draw_the_points_that_were_replaced(run):
    """Over 80 x 80 pixels of the image, filled up to 100 x 90 by a transform and to 128 x 128 by the network."""
    model, dataset = run
    transforms = [Resize([80, 80]), Padding([100, 90]), Normalize()]
    dataset.transforms = CheckedCompose(Compose(transforms))
    model.size_divisor, model.refine_threshold = 64, 0.1
    steps = model.trace(paddle.to_tensor(dataset[0]["img"])[None]).steps
    expected = []
    for step in steps:
        side = step.logits.shape[3]
        y, x = np.divmod(step.indices[0].numpy()[step.mask[0].numpy()], side)
        expected.append((np.stack([x, y], axis=1) + 0.5) * (128 / side) / 80)
    assert any(0 < len(points) < model.num_subdivision_points[0] for points in expected)
    assert max(points.max() for points in expected) > 1.2
    image = read_image(dataset.file_list[0][0])
    page = TracedNetwork(model, Preprocessing(transforms), ["class"] * 4, np.zeros((4, 3)))
    drawn = {
        "report": trace_sample(model, dataset, 0).steps,
        "page": page.predict(image, model.num_subdivision_points[0], 0.1).steps,
    }
    for steps in drawn.values():
        for step, points in zip(steps, expected, strict=True):
            np.testing.assert_allclose(step.coords, points, rtol=1e-6)


def test_confusion_tables_show_shares_of_rows():
    table = confusion_tables({"refined": np.array([[3, 1, 0], [0, 0, 0], [0, 0, 5]])}, ["a", "<b>", "c"])
    assert '<td style="--share:75%">75.0</td><td style="--share:25%">25.0</td>' in table
    assert table.count("<td>-</td>") == 3 and "&lt;b&gt;" in table
    with pytest.raises(ValueError, match="expected"):
        confusion_tables({"refined": np.zeros((2, 2))}, ["a"])
