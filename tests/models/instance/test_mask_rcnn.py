"""Mask R-CNN as a whole: what goes in and comes out, also where there is little to find."""

import numpy as np
import paddle
import pytest
import tiny_mask_rcnn as tiny
from paddle import nn
from paddleseg.cvlibs import SegBuilder, manager

from paddle_pointrend.models.instance import MaskRCNN, StandardMaskHead, Targets
from paddle_pointrend.models.weights import CheckpointError

BOX_LOSSES = ["loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"]
MASK_LOSSES = {"pointrend": ["loss_mask", "loss_mask_point"], "standard": ["loss_mask"]}


@pytest.fixture(params=MASK_LOSSES)
def head(request):
    return request.param


class TestEvaluation:
    def test_shapes_and_ranges(self, head):
        side = {"pointrend": 224, "standard": 28}[head]
        for found, (height, width) in zip(tiny.build(head)(tiny.images(), tiny.SIZES), tiny.SIZES):
            count = len(found.boxes)
            assert count == 100
            assert list(found.masks.shape) == [count, side, side] and list(found.coarse_masks.shape) == [count, 28, 28]
            assert found.classes.dtype == paddle.int64
            assert set(found.classes.numpy()) <= set(range(tiny.NUM_CLASSES))
            scores, masks = found.scores.numpy(), found.masks.numpy()
            assert (np.diff(scores) <= 0).all() and (masks >= 0).all() and (masks <= 1).all()
            boxes = found.boxes.numpy()
            assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()

    def test_nothing_found(self, head):
        model = tiny.build(head, box_head={"score_threshold": 1.0})
        for found in model(tiny.images(), tiny.SIZES):
            assert [len(x) for x in vars(found).values()] == [0] * 5
            assert found.masks.ndim == 3 and found.classes.dtype == paddle.int64

    def test_an_image_is_found_the_same_alone_and_in_a_batch(self, head):
        model = tiny.build(head)
        together = model(tiny.images(), tiny.SIZES)[0]
        alone = model(tiny.images()[:1], tiny.SIZES[:1])[0]
        np.testing.assert_array_equal(alone.classes.numpy(), together.classes.numpy())
        np.testing.assert_allclose(alone.boxes.numpy(), together.boxes.numpy(), atol=1e-4)
        np.testing.assert_allclose(alone.masks.numpy(), together.masks.numpy(), atol=1e-4)


class TestTraining:
    def losses(self, model, targets, images=None):
        model.train()
        losses = model(tiny.images() if images is None else images, tiny.SIZES, targets)
        sum(losses.values()).backward()
        without = [name for name, p in model.named_parameters() if not p.stop_gradient and p.grad is None]
        assert without == []
        return {name: float(loss) for name, loss in losses.items()}

    def test_losses_and_gradients_of_every_parameter(self, head):
        losses = self.losses(tiny.build(head), tiny.targets())
        assert list(losses) == BOX_LOSSES + MASK_LOSSES[head]
        assert all(0 < loss < 10 for loss in losses.values())

    def test_images_without_objects(self, head):
        empty = [tiny.rectangles([], [], size) for size in tiny.SIZES]
        some = self.losses(tiny.build(head), [tiny.targets()[0], empty[1]])
        assert all(loss > 0 for loss in some.values())
        none = self.losses(tiny.build(head), empty)
        assert {name for name, loss in none.items() if loss == 0} == {BOX_LOSSES[1], BOX_LOSSES[3], *MASK_LOSSES[head]}

    def test_boxes_without_area_are_as_if_not_there(self, head):
        with_flat = tiny.targets()
        with_flat[0] = tiny.rectangles([[5, 5, 40, 30], [50, 5, 50, 30], [30, 20, 80, 60]], [0, 1, 2], tiny.SIZES[0])
        assert self.losses(tiny.build(head), with_flat) == self.losses(tiny.build(head), tiny.targets())

    def test_padded_masks_and_tensors_are_the_same_as_arrays_of_the_image(self, head):
        padded = tiny.targets()
        masks = np.pad(padded[1].masks, [(0, 0), (0, 14), (0, 6)]).astype(bool)
        padded[1] = Targets(*map(paddle.to_tensor, (padded[1].boxes, padded[1].classes, masks)))
        assert self.losses(tiny.build(head), padded) == self.losses(tiny.build(head), tiny.targets())

    def test_some_steps_learn_one_image(self, head):
        model = tiny.build(head)
        optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
        totals = []
        for _ in range(15):
            totals.append(sum(self.losses(model, tiny.targets()).values()))
            optimizer.step()
            optimizer.clear_grad()
        assert totals[-1] < 0.8 * totals[0]

    def test_a_frozen_detector_stays_and_only_masks_learn(self, head):
        model = tiny.build(head, freeze_detector=True)
        assert list(self.losses(model, tiny.targets())) == MASK_LOSSES[head]
        learning = {name.split(".")[0] for name, p in model.named_parameters() if not p.stop_gradient}
        assert learning == {"mask_head"}

    def test_a_frozen_detector_stays_inside_another_layer(self):
        model = tiny.build(freeze_detector=True)
        nn.Sequential(model).train()  # as DataParallel does
        model(tiny.images(), tiny.SIZES, tiny.targets())
        assert not any(layer.training for layer in model.backbone.sublayers(include_self=True))

    def test_mistakes_are_named(self):
        model = tiny.build()
        model.train()
        with pytest.raises(ValueError, match="one Targets for each of 2 images"):
            model(tiny.images(), tiny.SIZES)
        small = tiny.targets()
        small[0].masks = small[0].masks[:, :40]
        with pytest.raises(ValueError, match="cover the image of 64x96"):
            model(tiny.images(), tiny.SIZES, small)
        small[0].masks = tiny.targets()[0].masks[:1]
        with pytest.raises(ValueError, match="one mask"):
            model(tiny.images(), tiny.SIZES, small)

    def test_diverged_predictions_are_an_error(self):
        model = tiny.build()
        model.train()
        model.rpn.anchor_deltas.bias.set_value(paddle.full([12], float("nan")))
        with pytest.raises(FloatingPointError, match="diverged"):
            model(tiny.images(), tiny.SIZES, tiny.targets())


class TestPretrained:
    def test_weights_of_other_classes_start_a_training(self, head, tmp_path, caplog):
        weights = str(tmp_path / "weights.pdparams")
        given = tiny.build(head)
        paddle.save(given.state_dict(), weights)
        model = tiny.build(head, num_classes=5, pretrained=weights)
        assert "another number of classes (-2)" in caplog.text
        differing = {"cls_score", "bbox_pred", "predictor", "prediction", "layers"}
        for name, tensor in given.state_dict().items():
            if not differing & set(name.split(".")):
                np.testing.assert_array_equal(model.state_dict()[name].numpy(), tensor.numpy(), err_msg=name)

    def test_weights_of_other_widths_are_refused(self, head, tmp_path):
        weights = str(tmp_path / "weights.pdparams")
        paddle.save(tiny.build(head, num_classes=5, box_head={"fc_channels": 16}).state_dict(), weights)
        with pytest.raises(CheckpointError, match="does not belong to this MaskRCNN"):
            tiny.build(head, pretrained=weights)


class TestBuilding:
    def test_from_yaml_with_a_backbone_of_paddleseg(self):
        backbone = {"type": "ResNet18_vd", "output_stride": 32}
        model = {"type": "MaskRCNN", "num_classes": 2, "backbone": backbone, "fpn_channels": 8}
        model["mask_head"] = {"type": "StandardMaskHead", "num_classes": 2, "in_channels": 8, "channels": 4}
        builder = SegBuilder.__new__(SegBuilder)  # without a whole config
        builder.comp_list = [manager.MODELS, manager.BACKBONES]
        built = builder.build_component(model)
        assert built.strides == [4, 8, 16, 32] and isinstance(built.mask_head, StandardMaskHead)
        built.eval()
        with paddle.no_grad():
            assert len(built(tiny.images(), tiny.SIZES)) == 2

    def test_sizes_that_differ_are_named(self):
        backbone = tiny.build().backbone
        with pytest.raises(ValueError, match="num_classes is 4 for MaskRCNN and 3 for its mask head"):
            MaskRCNN(backbone, 4, StandardMaskHead(3))
        with pytest.raises(ValueError, match="in_channels: 16"):
            MaskRCNN(backbone, 3, StandardMaskHead(3), fpn_channels=16)
        with pytest.raises(ValueError, match="strides"):
            MaskRCNN(backbone, 3, StandardMaskHead(3, strides=(8, 16, 32)))
        with pytest.raises(ValueError, match="twice the stride"):
            MaskRCNN(backbone, 3, StandardMaskHead(3), backbone_indices=(0, 2))
        with pytest.raises(ValueError, match="one anchor size"):
            MaskRCNN(backbone, 3, StandardMaskHead(3), rpn={"anchor_sizes": (32, 64)})
