"""Both mask heads against slow references: features at points of boxes, masks of one class a box, targets, losses."""

import numpy as np
import paddle
import pytest
import slow_instance_references as slow
import slow_references

from paddle_pointrend.models.instance.box_head import BoxHead
from paddle_pointrend.models.instance.mask_heads import PointRendMaskHead
from paddle_pointrend.models.instance.mask_targets import MatchedMasks, masks_at_points, masks_in_boxes
from paddle_pointrend.models.instance.region_points import RegionPoints
from paddle_pointrend.models.instance.regions import regular_grid, sampler_in_boxes
from paddle_pointrend.models.instance.roi_align import pool_levels
from paddle_pointrend.models.instance.standard_mask_head import StandardMaskHead
from paddle_pointrend.models.point_head import PointHead
from paddle_pointrend.points.eager_cpu import EAGER_CPU, EAGER_CPU_WITH_GRADIENTS
from paddle_pointrend.points.generic import GENERIC

K, C, STRIDE = 3, 4, 4
BOXES = np.float32([[4, 6, 40, 30], [-6, -3, 20, 50], [10, 10, 10, 30], [1, 2, 47, 39], [20.5, 8, 33, 24.25]])
COUNTS, CLASSES = [3, 0, 2], np.array([2, 0, 1, 1, 2])
IMAGES = np.repeat([0, 1, 2], COUNTS)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).standard_normal((3, C, 10, 12)).astype("float32")


@pytest.fixture(scope="module")
def head():
    paddle.seed(0)
    options = {"coarse_head": {"channels": 4, "fc_channels": 8}, "point_head": {"hidden_channels": 6}}
    made = PointRendMaskHead(K, in_channels=C, subdivision_steps=2, num_subdivision_points=30, **options)
    for parameter in made.parameters():  # predictors of deviation 0.001 would leave everything unsure alike
        parameter.set_value(0.4 * paddle.randn(parameter.shape))
    return made


def in_boxes(features, coords):
    """The map at points [R, P, 2] of the boxes, slowly: [R, C, P]."""
    height, width = features.shape[2:]
    size = np.array([width * STRIDE, height * STRIDE])
    places = (coords * (BOXES[:, None, 2:] - BOXES[:, None, :2]) + BOXES[:, None, :2]) / size
    return np.concatenate(
        [slow_references.point_sample(features[[i]], place[None]) for i, place in zip(IMAGES, places)]
    )


@pytest.mark.parametrize("execution", [GENERIC, EAGER_CPU, EAGER_CPU_WITH_GRADIENTS], ids=lambda e: e.name)
def test_points_of_boxes_are_read_in_their_image(features, execution):
    coords = np.random.default_rng(1).uniform(0, 1, (len(BOXES), 9, 2)).astype("float32")
    sample = sampler_in_boxes(paddle.to_tensor(features), STRIDE, paddle.to_tensor(BOXES), COUNTS, execution)
    np.testing.assert_allclose(sample(paddle.to_tensor(coords)).numpy(), in_boxes(features, coords), atol=1e-5)


def test_the_regular_grid_is_row_by_row():
    grid = regular_grid(paddle.to_tensor(BOXES), 2).numpy()
    np.testing.assert_array_equal(grid, [[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]] * len(BOXES))


@pytest.mark.parametrize(
    ("points", "steps", "side", "num_steps"), [(784, 5, 28, 3), (196, 5, 14, 4), (3136, 5, 56, 2), (784, 1, 14, 0)]
)
def test_steps_that_would_predict_every_point_are_the_regular_grid(points, steps, side, num_steps):
    made = PointRendMaskHead(1, in_channels=2, num_subdivision_points=points, subdivision_steps=steps)
    assert (made.initial_side, made.num_steps) == (side, num_steps)


def test_pointrend_masks_are_the_definition(features, head):
    levels, boxes = [paddle.to_tensor(features)], paddle.to_tensor(BOXES)
    masks, coarse_masks = head.predict(levels, boxes, COUNTS, paddle.to_tensor(CLASSES))
    coarse = slow_coarse(features, head)
    layers = [*head.point_head.layers, head.point_head.predictor]
    weights, biases = [layer.weight.numpy()[:, :, 0] for layer in layers], [layer.bias.numpy() for layer in layers]
    for i, k in enumerate(CLASSES):

        def predict(coords, i=i, k=k):
            fine = in_boxes(features, np.broadcast_to(coords, (len(BOXES), *coords.shape)))[[i]]
            at_points = slow_references.point_sample(coarse[[i]], coords[None])
            return slow_references.point_mlp(fine, at_points, weights, biases, True)[0, k]

        logits = predict(centres(7)).reshape(7, 7)
        np.testing.assert_allclose(coarse_masks[i].numpy(), sigmoid(logits), atol=1e-4)
        for side in (14, 28):
            logits = slow_references.resize_bilinear(logits[None, None], (side, side)).flatten()
            chosen = np.argsort(np.abs(logits))[:30]
            logits[chosen] = predict(centres(side)[chosen])
            logits = logits.reshape(side, side)
        np.testing.assert_allclose(masks[i].numpy(), sigmoid(logits), atol=1e-4)


@pytest.mark.parametrize("coarse_in_every_layer", [True, False])
def test_what_is_computed_beforehand_changes_nothing(features, coarse_in_every_layer):
    paddle.seed(1)
    options = {"hidden_channels": 6, "predictor_init_std": 1.0, "coarse_in_every_layer": coarse_in_every_layer}
    point_head = PointHead(C, K, **options)
    for parameter in point_head.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    boxes, classes = paddle.to_tensor(BOXES[:3]), paddle.to_tensor(CLASSES[:3])
    coarse, coords = paddle.randn([3, K, 7, 7]), paddle.uniform([3, 20, 2], min=-0.2, max=1.2)
    map_of_image = paddle.to_tensor(features[:1])
    with paddle.no_grad():
        few, many = (
            RegionPoints(point_head, map_of_image, STRIDE, EAGER_CPU, count).of_boxes(boxes, coarse, classes)(coords)
            for count in (1, 10**6)
        )
    assert few.shape == [3, 1, 20]
    np.testing.assert_allclose(many.numpy(), few.numpy(), rtol=1e-4, atol=1e-4)


def slow_coarse(features, head):
    layer = head.coarse_head
    pooled = in_boxes(features, np.broadcast_to(centres(14), (len(BOXES), 196, 2))).reshape(len(BOXES), C, 14, 14)
    weight, bias = layer.reduce.weight.numpy(), layer.reduce.bias.numpy()
    x = np.zeros((len(BOXES), len(weight), 7, 7))
    for i in range(7):
        for j in range(7):
            patch = pooled[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            x[:, :, i, j] = np.einsum("ncij,ocij->no", patch, weight) + bias
    x = np.maximum(x, 0).reshape(len(BOXES), -1)
    for fc in layer.fcs:
        x = np.maximum(x @ fc.weight.numpy() + fc.bias.numpy(), 0)
    return (x @ layer.prediction.weight.numpy() + layer.prediction.bias.numpy()).reshape(-1, K, 7, 7)


def centres(side):
    y, x = np.divmod(np.arange(side**2), side)
    return (np.stack([x, y], axis=1) + 0.5) / side


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_standard_masks_are_those_of_the_boxes_classes(features):
    made = StandardMaskHead(K, in_channels=C, strides=(STRIDE,), pool_size=4, channels=5, num_convs=2)
    made.predictor.weight.set_value(paddle.randn(made.predictor.weight.shape))
    levels, boxes = [paddle.to_tensor(features)], paddle.to_tensor(BOXES)
    masks, same = made.predict(levels, boxes, COUNTS, paddle.to_tensor(CLASSES))
    pooled = pool_levels(levels, [STRIDE], boxes, COUNTS, 4)
    every_class = made.predictor(made.hidden(pooled)).numpy()
    assert masks is same and masks.shape == [5, 8, 8]
    np.testing.assert_allclose(masks.numpy(), sigmoid(every_class[np.arange(5), CLASSES]), atol=1e-5)
    assert np.isfinite(masks.numpy()).all()  # of the box without area too


def matched_masks():
    random = np.random.default_rng(3)
    masks = [paddle.to_tensor((random.random((m, 40, 48)) < 0.5).astype("uint8")) for m in (2, 0, 3)]
    return MatchedMasks(CLASSES, masks, [np.array([1, 0, 1]), np.array([], "int64"), np.array([2, 0])])


def object_masks(matched):
    return np.concatenate([m.numpy()[places] for m, places in zip(matched.masks, matched.matches)]).astype(float)


def test_targets_are_cut_out_of_each_boxs_object():
    matched = matched_masks()
    found = masks_in_boxes(matched, paddle.to_tensor(BOXES), 5).numpy()
    shares = [slow.roi_align(m[None], b.astype(float), 5, 1, 0)[0] for m, b in zip(object_masks(matched), BOXES)]
    shares[2] = np.zeros((5, 5))  # of no area
    clear = np.abs(np.array(shares) - 0.5) > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear], (np.array(shares) >= 0.5)[clear])


def test_targets_at_points_are_bilinear_and_zero_outside():
    matched = matched_masks()
    points = np.random.default_rng(4).uniform(-5, 55, (len(BOXES), 30, 2)).astype("float32")
    found = masks_at_points(matched, paddle.to_tensor(points)).numpy()
    wanted = [
        slow_references.point_sample(mask[None, None], place[None] / [48, 40])[0, 0]
        for mask, place in zip(object_masks(matched), points)
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_pointrend_losses_are_the_definition(features, head, monkeypatch):
    matched, boxes = matched_masks(), paddle.to_tensor(BOXES)
    random = np.random.default_rng(5)
    numbers = [random.random(shape, dtype="float32") for shape in ((5, 588, 2), (5, 49, 2))]
    drawn = iter(numbers)
    monkeypatch.setattr(paddle, "rand", lambda *args, **kwargs: paddle.to_tensor(next(drawn)))
    losses = head.losses([paddle.to_tensor(features)], boxes, COUNTS, matched)
    coarse, rows = slow_coarse(features, head), np.arange(len(BOXES))
    wanted = masks_in_boxes(matched, boxes, 7).numpy()
    loss_mask = slow.binary_cross_entropy(coarse[rows, CLASSES], wanted).mean()
    assert float(losses["loss_mask"]) == pytest.approx(loss_mask, rel=1e-4)
    unsure = np.abs(slow_references.point_sample(coarse, numbers[0])[rows, CLASSES])
    chosen = np.argsort(unsure, axis=1)[:, :147]
    coords = np.concatenate([np.take_along_axis(numbers[0], chosen[:, :, None], axis=1), numbers[1]], axis=1)
    layers = [*head.point_head.layers, head.point_head.predictor]
    weights, biases = [layer.weight.numpy()[:, :, 0] for layer in layers], [layer.bias.numpy() for layer in layers]
    fine, at_points = in_boxes(features, coords), slow_references.point_sample(coarse, coords)
    logits = slow_references.point_mlp(fine, at_points, weights, biases, True)[rows, CLASSES]
    places = coords * (BOXES[:, None, 2:] - BOXES[:, None, :2]) + BOXES[:, None, :2]
    labels = masks_at_points(matched, paddle.to_tensor(np.float32(places))).numpy()
    loss_point = slow.binary_cross_entropy(logits, labels).mean()
    assert float(losses["loss_mask_point"]) == pytest.approx(loss_point, rel=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BoxHead(0, 4, [4]), "num_classes must be a whole number of at least 1, got 0"),
        (lambda: BoxHead(2, 4, [4], num_fcs=0), "num_fcs must be .*, got 0"),
        (lambda: StandardMaskHead(2, channels=0), "channels must be .*, got 0"),
        (lambda: PointRendMaskHead(2, coarse_head={"fc_channels": "8"}), "fc_channels must be .*, got '8'"),
        (lambda: PointRendMaskHead(2, num_subdivision_points=0), "num_subdivision_points must be .*, got 0"),
    ],
)
def test_counts_below_1_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
