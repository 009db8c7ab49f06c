import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
import slow_references as slow
from paddle import nn
from paddleseg.core.train import loss_computation
from paddleseg.cvlibs import Config, SegBuilder, manager
from paddleseg.models import backbones
from paddleseg.models.losses import CrossEntropyLoss
from tiny_backbone import TinyBackbone

from paddle_pointrend import (
    PointHead,
    PointRendSeg,
    PointSampledCrossEntropyLoss,
    SemanticFPN,
    calculate_uncertainty,
)


class FixedSegmentor(nn.Layer):
    """Yields given maps, so that what PointRendSeg makes of them can be followed."""

    def __init__(self, coarse_logits, fine_features, coarse_stride=4):
        super().__init__()
        self.maps = coarse_logits, fine_features
        self.num_classes = coarse_logits.shape[1]
        self.coarse_stride = coarse_stride
        self.fine_channels = [features.shape[1] for features in fine_features]

    def forward_features(self, x):
        return self.maps


def step_of(model, coarse_logits, fine_features, num_points):
    """(the map after one step, the points' coords)"""
    subdivision = model.subdivision(coarse_logits, fine_features)
    step = subdivision.step(coarse_logits, num_points)
    return subdivision.put(step), step.coords


def small_model(num_classes=3, *, backbone=None, **options):
    options = {"num_train_points": 20, "num_subdivision_points": 30, **options}
    segmentor = SemanticFPN(num_classes, backbone or TinyBackbone(), fpn_channels=8, head_channels=8)
    return PointRendSeg(segmentor, {"hidden_channels": 8}, **options)


def spread_predictor(model):
    """Large weights in both classifiers: with the initial ones every logit is almost 0."""
    for layer in (model.segmentor.head.classifier, model.point_head.predictor):
        layer.weight.set_value(paddle.randn(layer.weight.shape))
    return model


class TestTraining:
    def test_two_outputs_one_for_each_loss_type(self):
        model = small_model(5)
        outputs = model(paddle.randn([2, 3, 64, 96]))
        assert len(outputs) == 2
        coarse, (point_logits, point_coords) = outputs
        assert list(coarse.shape) == [2, 5, 64, 96]
        assert list(point_logits.shape) == [2, 5, 20]
        assert list(point_coords.shape) == [2, 20, 2]

    def test_point_logits_are_the_heads_at_the_sampled_maps(self):
        coarse, fine = paddle.randn([2, 3, 6, 8]), [paddle.randn([2, 4, 12, 16]), paddle.randn([2, 2, 6, 8])]
        head = PointHead(6, 3, hidden_channels=8, predictor_init_std=1.0)
        model = PointRendSeg(FixedSegmentor(coarse, fine), head, num_train_points=15)
        full, (point_logits, coords) = model(paddle.zeros([2, 3, 23, 30]))
        np.testing.assert_allclose(full.numpy(), slow.resize_bilinear(coarse.numpy(), (23, 30)), atol=1e-4)
        sampled = [slow.point_sample(features.numpy(), coords.numpy()) for features in [*fine, coarse]]
        expected = numpy_head(head)(np.concatenate(sampled[:2], axis=1), sampled[2])
        np.testing.assert_allclose(point_logits.numpy(), expected, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("which", ["coarse", "points"])
    def test_gradients_reach_segmentor_and_point_head(self, which):
        model = small_model()
        coarse, (point_logits, _) = model(paddle.randn([2, 3, 64, 64]))
        (coarse if which == "coarse" else point_logits).square().sum().backward()
        reached = {name for name, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().sum())}
        for name in (
            "segmentor.backbone.stem.weight",
            "segmentor.fpn.laterals.0.weight",
            "segmentor.head.classifier.weight",
        ):
            assert name in reached
        assert ("point_head.layers.0.weight" in reached) == (which == "points")
        assert ("point_head.predictor.bias" in reached) == (which == "points")

    def test_the_hosts_trainer_takes_the_outputs_and_the_losses_fall(self):
        model = spread_predictor(small_model(3))
        losses = {"types": [CrossEntropyLoss(), PointSampledCrossEntropyLoss()], "coef": [1, 1]}
        optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
        label = (paddle.arange(64) // 24).expand([2, 64, 64])
        images = label.astype("float32").unsqueeze(1).expand([2, 3, 64, 64])
        history = []
        for _ in range(25):
            values = loss_computation(logits_list=model(images), labels=label, edges=None, losses=losses)
            assert len(values) == 2
            sum(values).sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            history.append([value.item() for value in values])
        start, end = np.mean(history[:3], axis=0), np.mean(history[-3:], axis=0)
        assert (end < 0.7 * start).all()

    @pytest.mark.parametrize("full_graph", [True, False])  # False is what PaddleSeg's --to_static_training asks for
    def test_to_static_draws_new_points_each_time(self, full_graph):
        model = paddle.jit.to_static(small_model(), full_graph=full_graph)
        model.train()
        images = paddle.randn([2, 3, 64, 64])
        (coarse, (point_logits, first)), (_, (_, second)) = model(images), model(images)
        assert list(coarse.shape) == [2, 3, 64, 64]
        assert (first.numpy() != second.numpy()).any()
        point_logits.square().sum().backward()
        assert float(model.segmentor.fpn.laterals[0].weight.grad.abs().sum()) > 0


def numpy_head(head):
    layers = [*head.layers, head.predictor]
    weights = [layer.weight.numpy()[:, :, 0].astype("float64") for layer in layers]
    biases = [layer.bias.numpy().astype("float64") for layer in layers]
    return lambda fine, coarse: slow.point_mlp(fine, coarse, weights, biases, head.coarse_in_every_layer)


class TestRefinement:
    @pytest.fixture
    def double_precision(self):
        """So that rounding cannot change which of two points is the more uncertain."""
        paddle.set_default_dtype("float64")
        yield
        paddle.set_default_dtype("float32")

    @pytest.mark.usefixtures("double_precision")
    @pytest.mark.parametrize("num_classes", [2, 5])
    @pytest.mark.parametrize("coarse_in_every_layer", [True, False])
    @pytest.mark.parametrize("points", [[13], [20, 50], [1000, 7, 30]])
    def test_equals_the_slow_algorithm(self, points, coarse_in_every_layer, num_classes):
        coarse, fine = paddle.randn([2, num_classes, 5, 4]), paddle.randn([2, 3, 10, 8])
        head = PointHead(
            3,
            num_classes,
            hidden_channels=8,
            predictor_init_std=1.0,
            coarse_in_every_layer=coarse_in_every_layer,
        )
        model = PointRendSeg(FixedSegmentor(coarse, [fine]), head, num_subdivision_points=points)
        model.eval()
        refined = model(paddle.zeros([2, 3, 19, 15]))
        assert len(refined) == 1
        expected = coarse.numpy()
        for num_points in points:
            expected = slow.subdivide(expected, coarse.numpy(), fine.numpy(), num_points, numpy_head(head))
        expected = slow.resize_bilinear(expected, (19, 15))
        assert np.abs(expected - slow.resize_bilinear(coarse.numpy(), (19, 15))).max() > 0.5
        np.testing.assert_allclose(refined[0].numpy(), expected, rtol=1e-4, atol=1e-4)

    def test_a_step_changes_the_chosen_points_only(self):
        coarse, fine = paddle.randn([2, 4, 6, 7]), paddle.randn([2, 3, 12, 14])
        model = PointRendSeg(FixedSegmentor(coarse, [fine]), {"hidden_channels": 8})
        logits, coords = step_of(model, coarse, [fine], 9)
        doubled = slow.resize_bilinear(coarse.numpy(), (12, 14))
        columns, rows = np.floor(coords.numpy() * [14, 12]).astype(int).transpose(2, 0, 1)
        chosen = np.zeros((2, 12, 14), bool)
        chosen[np.arange(2)[:, None], rows, columns] = True
        assert chosen.sum() == 18
        changed = (np.abs(logits.numpy() - doubled) > 1e-4).any(axis=1)
        np.testing.assert_array_equal(changed, chosen)
        cut = np.sort(slow.uncertainty(doubled).reshape(2, -1))[:, -9]
        assert (slow.uncertainty(doubled)[:, 0][chosen].reshape(2, 9) >= cut[:, None] - 1e-5).all()

    @pytest.mark.parametrize("coarse_in_every_layer", [True, False])
    def test_a_head_that_repeats_the_coarse_logits_changes_nothing(self, coarse_in_every_layer):
        # Zero padding pulls samples towards 0 in the outermost half pixel of the coarse map: left out.
        num_classes = 4
        coarse, fine = paddle.randn([2, num_classes, 8, 6]), paddle.randn([2, 3, 8, 6])
        head = PointHead(3, num_classes, hidden_channels=8, coarse_in_every_layer=coarse_in_every_layer)
        identity = np.eye(num_classes)
        # ReLU lets l and -l through separate channels: relu(l) - relu(-l) = l.
        both = np.concatenate([identity, -identity])
        if coarse_in_every_layer:
            blocks = {head.predictor: (identity, 8)}
        else:
            blocks = {head.layers[0]: (both, 3), head.layers[1]: (np.eye(8), 0)}
            blocks |= {head.layers[2]: (np.eye(8), 0), head.predictor: (both.T, 0)}
        for layer in [*head.layers, head.predictor]:
            weight = np.zeros(layer.weight.shape, "float32")
            if layer in blocks:
                block, first_column = blocks[layer]
                weight[:, first_column:, 0] = block
            layer.weight.set_value(weight)
        model = PointRendSeg(FixedSegmentor(coarse, [fine], 2), head, num_subdivision_points=100_000)
        model.eval()
        refined = model(paddle.zeros([2, 3, 16, 12]))[0].numpy()
        expected = slow.resize_bilinear(coarse.numpy(), (16, 12))
        np.testing.assert_allclose(refined[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-4)

    def test_no_steps_is_the_coarse_prediction(self):
        model = spread_predictor(small_model(subdivision_steps=0))
        model.eval()
        images = paddle.randn([2, 3, 50, 70])
        np.testing.assert_array_equal(model(images)[0].numpy(), model.segmentor(images)[0].numpy())

    def test_each_step_takes_its_number_of_points(self, chosen_points):
        model = small_model(num_subdivision_points=[11, 22, 33])
        model.eval()
        assert list(model(paddle.randn([1, 3, 64, 96]))[0].shape) == [1, 3, 64, 96]
        assert chosen_points == [([1, 1, 32, 48], 11), ([1, 1, 64, 96], 22), ([1, 1, 128, 192], 33)]

    def test_a_threshold_leaves_sure_points_alone(self):
        model = spread_predictor(small_model(num_subdivision_points=[400]))
        model.eval()
        images = paddle.randn([2, 3, 64, 96])
        refined = model(images)[0].numpy()
        _, coarse_logits, fine_features = model.segment(images)
        doubled = F.interpolate(coarse_logits, scale_factor=2, mode="bilinear")
        margins = -calculate_uncertainty(doubled).numpy()
        threshold = float(np.quantile(np.sort(margins.reshape(2, -1))[:, :400], 0.6))
        model.refine_threshold = threshold
        partly, _ = step_of(model, coarse_logits, fine_features, 400)
        model.refine_threshold = None
        fully, _ = step_of(model, coarse_logits, fine_features, 400)
        expected = np.where(margins <= threshold, fully.numpy(), doubled.numpy())
        np.testing.assert_allclose(partly.numpy(), expected, atol=1e-5)
        assert not np.array_equal(partly.numpy(), fully.numpy())
        model.refine_threshold = 1e9
        np.testing.assert_array_equal(model(images)[0].numpy(), refined)
        with pytest.raises(ValueError, match=r"refine_threshold must be at least 0, .* got -1"):
            small_model(refine_threshold=-1)

    @pytest.mark.parametrize(
        "options",
        [{}, {"refine_threshold": 0.05}, {"size_divisor": 32}, {"subdivision_steps": 0}, {"subdivision_steps": 5}],
    )
    @pytest.mark.parametrize("size", [(64, 96), (50, 70)])
    def test_labels_are_the_best_classes(self, options, size):
        model = spread_predictor(small_model(5, num_subdivision_points=300, **options))
        model.eval()
        images = paddle.randn([2, 3, *size])
        labels = model.predict_labels(images)
        assert labels.dtype == paddle.int64
        expected = model(images)[0].numpy().argmax(axis=1)
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(labels.numpy(), expected)

    @pytest.mark.parametrize(("coarse_stride", "steps"), [(1, 1), (2, 1), (4, 2), (8, 3), (32, 5)])
    def test_by_default_the_steps_reach_the_inputs_size(self, coarse_stride, steps):
        segmentor = FixedSegmentor(paddle.zeros([1, 2, 4, 4]), [paddle.zeros([1, 3, 4, 4])], coarse_stride)
        assert PointRendSeg(segmentor).num_subdivision_points == [8192] * steps

    @pytest.mark.parametrize("size", [(64, 64), (97, 130), (33, 50), (5, 7)])
    def test_any_size_also_with_fewer_pixels_than_points(self, size):
        model = spread_predictor(small_model(num_subdivision_points=8192))
        model.eval()
        refined = model(paddle.randn([2, 3, *size]))[0]
        assert list(refined.shape) == [2, 3, *size]
        assert bool(paddle.isfinite(refined).all())

    @pytest.mark.parametrize("num_classes", [1, 2, 19, 150])
    def test_number_of_classes(self, num_classes):
        model = small_model(num_classes)
        images = paddle.randn([2, 3, 40, 64])
        assert list(model(images)[1][0].shape) == [2, num_classes, 20]
        model.eval()
        assert list(model(images)[0].shape) == [2, num_classes, 40, 64]

    def test_predict_both_is_the_segmentors_and_the_models_output(self):
        model = spread_predictor(small_model(5))
        model.eval()
        images = paddle.randn([2, 3, 45, 66])
        coarse, refined = model.predict_both(images)
        np.testing.assert_array_equal(coarse.numpy(), model.segmentor(images)[0].numpy())
        np.testing.assert_array_equal(refined.numpy(), model(images)[0].numpy())
        assert np.abs(coarse.numpy() - refined.numpy()).max() > 0.1

    @pytest.mark.parametrize("size", [(45, 66), (64, 70), (40, 64)])
    def test_size_divisor_pads_with_zeros_and_cuts_the_logits_back(self, size):
        model = spread_predictor(small_model(4, size_divisor=32))
        model.eval()
        images = paddle.randn([2, 3, *size])
        padded = np.zeros([2, 3, 64, 96 if size[1] > 64 else 64], "float32")
        padded[:, :, : size[0], : size[1]] = images.numpy()
        coarse, refined = (
            logits.numpy()[:, :, : size[0], : size[1]] for logits in model.predict_both(paddle.to_tensor(padded))
        )
        for logits, expected in zip(model.predict_both(images), (coarse, refined)):
            np.testing.assert_array_equal(logits.numpy(), expected)
        np.testing.assert_array_equal(model(images)[0].numpy(), refined)

    def test_size_divisor_must_divide_training_images(self):
        model = small_model(4, size_divisor=32)
        assert list(model(paddle.randn([2, 3, 64, 96]))[0].shape) == [2, 4, 64, 96]
        with pytest.raises(ValueError, match=r"size_divisor is 32, but the training images are \[64, 97\]; crop"):
            model(paddle.randn([2, 3, 64, 97]))
        with pytest.raises(ValueError, match="whole number of at least 1, got 0"):
            small_model(size_divisor=0)

    def test_images_of_a_batch_do_not_see_each_other(self):
        model = spread_predictor(small_model(4))
        model.eval()
        images = paddle.randn([3, 3, 48, 64])
        together = model(images)[0].numpy()
        alone = model(images[1:2])[0].numpy()
        # Not equal throughout: one image's convolutions may round otherwise than three's and swap two points.
        assert np.isclose(together[1:2], alone, atol=1e-3).mean() > 0.99


class TestStatic:
    @pytest.mark.parametrize(("head_levels", "size_divisor"), [(None, 1), ((1, 2, 3), 1), (None, 32)])
    def test_evaluation_with_dynamic_sizes_equals_eager(self, tmp_path, head_levels, size_divisor):
        segmentor = SemanticFPN(4, TinyBackbone(), head_levels=head_levels, fpn_channels=8, head_channels=8)
        options = {"num_subdivision_points": 200, "size_divisor": size_divisor}
        model = spread_predictor(PointRendSeg(segmentor, {"hidden_channels": 8}, **options))
        model.eval()
        # The first map is smaller than the number of points, the others are larger.
        batches = [paddle.randn([n, 3, *size]) for n, size in ((1, (20, 20)), (2, (97, 130)), (3, (64, 64)))]
        expected = [model(images)[0].numpy() for images in batches]
        static = paddle.jit.to_static(
            model, input_spec=[paddle.static.InputSpec([None, 3, None, None], "float32")], full_graph=True
        )
        path = str(tmp_path / "model")
        paddle.jit.save(static, path)
        loaded = paddle.jit.load(path)
        loaded.eval()
        for images, eager in zip(batches, expected):
            np.testing.assert_allclose(static(images)[0].numpy(), eager, atol=1e-4)
            outputs = loaded(images)
            output = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
            np.testing.assert_allclose(output.numpy(), eager, atol=1e-4)


MODEL_YAML = """\
batch_size: 1
iters: 1
train_dataset:
  type: {dataset}
  dataset_root: data
  train_path: data/train.txt
  num_classes: 19
  mode: train
  transforms: [{{type: Normalize}}]
optimizer: {{type: SGD}}
lr_scheduler: {{type: PolynomialDecay, learning_rate: 0.01}}
loss:
  types:
    - {{type: CrossEntropyLoss}}
    - {{type: PointSampledCrossEntropyLoss, ignore_index: 255}}
  coef: [1, 1]
model:
  type: PointRendSeg
  num_classes: 19
  num_train_points: 64
  num_subdivision_points: [100, 200, 300]
  point_head: {{hidden_channels: 16, num_layers: 2, coarse_in_every_layer: false}}
  segmentor:
    type: SemanticFPN
    num_classes: {segmentor_classes}
    backbone: {{type: ResNet18_vd, output_stride: 32}}
    head_levels: [1, 2, 3]
    fpn_channels: 16
    head_channels: 32
    norm: GN
"""


def builder(path, **values):
    path.write_text(MODEL_YAML.format(**{"dataset": "Cityscapes", "segmentor_classes": 19, **values}))
    return SegBuilder(Config(str(path)))


class TestHost:
    def test_names_are_registered(self):
        assert manager.MODELS["PointRendSeg"] is PointRendSeg
        assert manager.MODELS["SemanticFPN"] is SemanticFPN

    @pytest.mark.parametrize("dataset", ["Dataset", "Cityscapes"])  # for the latter the host adds in_channels
    def test_builds_from_yaml(self, tmp_path, dataset):
        built = builder(tmp_path / "model.yml", dataset=dataset)
        model = built.model
        assert isinstance(model, PointRendSeg)
        assert isinstance(model.segmentor.backbone, backbones.resnet_vd.ResNet_vd)
        assert model.segmentor.coarse_stride == 8
        assert model.num_subdivision_points == [100, 200, 300]
        assert len(model.point_head.layers) == 2
        assert not model.point_head.coarse_in_every_layer
        assert isinstance(built.loss["types"][1], PointSampledCrossEntropyLoss)
        outputs = model(paddle.randn([2, 3, 64, 64]))
        assert list(outputs[1][0].shape) == [2, 19, 64]

    def test_class_counts_that_differ_are_refused(self, tmp_path):
        with pytest.raises(RuntimeError, match="num_classes is 19 for PointRendSeg and 7 for its segmentor"):
            _ = builder(tmp_path / "model.yml", segmentor_classes=7).model

    def test_save_and_load(self, tmp_path):
        images = paddle.randn([1, 3, 40, 56])
        model, other = spread_predictor(small_model(4)), small_model(4)
        path = str(tmp_path / "model.pdparams")
        paddle.save(model.state_dict(), path)
        missing, unexpected = other.set_state_dict(paddle.load(path))
        assert (missing, unexpected) == ([], [])
        model.eval()
        other.eval()
        np.testing.assert_array_equal(model(images)[0].numpy(), other(images)[0].numpy())

    def test_parameters_keep_the_names_that_checkpoints_use(self):
        prefixes = {name.split(".weight")[0] for name in small_model().state_dict() if name.endswith(".weight")}
        assert {
            "segmentor.backbone.stem",
            "segmentor.fpn.laterals.3",
            "segmentor.fpn.outputs.0",
            "segmentor.head.branches.3.8",
            "segmentor.head.classifier",
            "point_head.layers.2",
            "point_head.predictor",
        } <= prefixes


class TestErrors:
    def test_class_counts_that_differ(self):
        segmentor = SemanticFPN(3, TinyBackbone(), fpn_channels=8)
        with pytest.raises(ValueError, match="num_classes is 4 for PointRendSeg and 3 for its segmentor"):
            PointRendSeg(segmentor, num_classes=4)
        with pytest.raises(ValueError, match="the point head predicts 5 classes, the segmentor 3"):
            PointRendSeg(segmentor, PointHead(8, 5))

    def test_a_point_head_for_other_features(self):
        segmentor = SemanticFPN(3, TinyBackbone(), fpn_channels=8)
        with pytest.raises(ValueError, match=r"takes 9 channels, .* have \[8\]; build it with in_channels=8"):
            PointRendSeg(segmentor, PointHead(9, 3))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"subdivision_steps": -1}, "at least 0, got -1"),
            ({"num_subdivision_points": 0}, "got 0"),
            ({"num_subdivision_points": [5, 0]}, r"got \[5, 0\]"),
            ({"num_subdivision_points": [5, 6], "subdivision_steps": 3}, r"a list of 3 such numbers, .* got \[5, 6\]"),
        ],
    )
    def test_steps_and_points(self, options, message):
        with pytest.raises(ValueError, match=message):
            small_model(**options)


def test_images_of_other_channels_than_the_segmentors_are_refused():
    backbone = TinyBackbone()
    segmentor = SemanticFPN(3, backbone, fpn_channels=8, head_channels=8)
    assert segmentor.in_channels == 3
    PointRendSeg(segmentor, in_channels=3)
    with pytest.raises(ValueError, match=r"images have 1 channels, the segmentor takes 3; set in_channels: 1"):
        PointRendSeg(segmentor, in_channels=1)


@pytest.mark.parametrize(
    "options", [{"num_train_points": 1e2}, {"num_subdivision_points": 1e2}, {"oversample_ratio": 0.5}]
)
def test_options_are_checked_when_the_model_is_built(options):
    segmentor = SemanticFPN(3, TinyBackbone(), fpn_channels=8, head_channels=8)
    with pytest.raises(ValueError, match=r"must be"):
        PointRendSeg(segmentor, **options)
