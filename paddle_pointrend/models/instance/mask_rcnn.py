"""Mask R-CNN: backbone, FPN, RPN, box head, and a mask head, Mask R-CNN's own or PointRend's.

N: images, K: classes.

Source: He et al., "Mask R-CNN" (ICCV 2017); detectron2/modeling/meta_arch/rcnn.py, roi_heads/roi_heads.py.
"""

import contextlib
import itertools
from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn

from paddle_pointrend.models.backbones import image_channels, measure_backbone
from paddle_pointrend.models.fpn import FPN
from paddle_pointrend.models.instance.box_head import BoxHead
from paddle_pointrend.models.instance.mask_heads import PointRendMaskHead
from paddle_pointrend.models.instance.mask_targets import MatchedMasks
from paddle_pointrend.models.instance.matching import SampledBoxes, sample_proposals
from paddle_pointrend.models.instance.rpn import RPN
from paddle_pointrend.models.instance.standard_mask_head import StandardMaskHead
from paddle_pointrend.models.instance.structures import Detections, Targets, usable_targets
from paddle_pointrend.models.weights import load_pretrained


class MaskRCNN(nn.Layer):
    """Finds objects: boxes, classes, masks.

    Args:
        backbone: returns a list of maps, fine -> coarse, as PaddleSeg's backbones do. Channels and strides are read
            from it.
        num_classes: K, without background.
        mask_head: a StandardMaskHead or PointRendMaskHead of K classes and fpn_channels.
        backbone_indices: the backbone's maps that enter the pyramid, each of twice the stride of the one before. A
            further level is the last one at half its size.
        fpn_channels: of every level.
        rpn: options of RPN.
        box_head: options of BoxHead.
        num_samples: boxes of an image that the heads learn from.
        positive_fraction: at most this part of them shows objects.
        positive_iou: from this IoU with an object on a box shows it.
        freeze_detector: everything but the mask head stays as it is, batch statistics too.
        pretrained: a file of weights of the whole model to start a training from, a path or a URL; see
            load_pretrained. Under freeze_detector its mask head may be another one.

    Raises:
        ValueError: sizes that differ, a backbone whose strides do not double.
        CheckpointError: pretrained weights that cannot be read or are not this model's.
    """

    def __init__(
        self,
        backbone: nn.Layer,
        num_classes: int,
        mask_head: StandardMaskHead | PointRendMaskHead,
        *,
        backbone_indices: Sequence[int] = (0, 1, 2, 3),
        fpn_channels: int = 256,
        rpn: dict | None = None,
        box_head: dict | None = None,
        num_samples: int = 512,
        positive_fraction: float = 0.25,
        positive_iou: float = 0.5,
        freeze_detector: bool = False,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        channels, strides = measure_backbone(backbone)
        if any(not 0 <= i < len(strides) for i in backbone_indices):
            raise ValueError(f"backbone_indices {list(backbone_indices)}: the backbone has {len(strides)} maps")
        channels, strides = ([values[i] for i in backbone_indices] for values in (channels, strides))
        if any(coarse != 2 * fine for fine, coarse in itertools.pairwise(strides)):
            raise ValueError(f"each map of the backbone must have twice the stride of the one before, got {strides}")
        _check_mask_head(mask_head, num_classes, fpn_channels, strides)
        self.num_classes, self.strides = num_classes, strides
        self.in_channels = image_channels(backbone)
        self.backbone, self.backbone_indices = backbone, list(backbone_indices)
        self.fpn = FPN(channels, strides, out_channels=fpn_channels, init="c2_xavier")
        self.rpn = RPN(fpn_channels, [*strides, 2 * strides[-1]], **(rpn or {}))
        self.box_head = BoxHead(num_classes, fpn_channels, strides, **(box_head or {}))
        self.mask_head = mask_head
        self.num_samples, self.positive_fraction, self.positive_iou = num_samples, positive_fraction, positive_iou
        self.freeze_detector = freeze_detector
        if freeze_detector:
            for part in self._detector():
                part.eval()
                for parameter in part.parameters():
                    parameter.stop_gradient = True
        if pretrained is not None:
            load_pretrained(
                self,
                pretrained,
                new_part="mask_head." if freeze_detector else None,
                class_factors=(1, 4, *mask_head.class_factors),  # scores, deltas, masks
            )

    def _detector(self):
        return self.backbone, self.fpn, self.rpn, self.box_head

    def train(self, mode: bool = True) -> "MaskRCNN":
        """Switches to training; the batch statistics of a frozen detector stay in evaluation."""
        super().train(mode)
        if self.freeze_detector:
            self.backbone.eval()
        return self

    def forward(
        self,
        images: paddle.Tensor,
        image_sizes: Sequence[Sequence[int]] | paddle.Tensor,
        targets: list[Targets] | None = None,
    ) -> list[Detections] | dict[str, paddle.Tensor]:
        """Finds objects, or learns to.

        Args:
            images: [N, C, H, W], normalised, padded at the right and below to multiples of the coarsest stride.
            image_sizes: int [N, 2], height and width of each image before padding.
            targets: one an image, needed in training.

        Returns:
            In evaluation the Detections of each image. In training the losses, scalars: loss_rpn_cls, loss_rpn_loc,
            loss_cls, loss_box_reg, loss_mask, and loss_mask_point with PointRend's head; with a frozen detector those
            of masks alone.

        Raises:
            ValueError: training without targets, targets that do not fit.
            FloatingPointError: in training, predictions that are not finite.
        """
        sizes = [(int(height), int(width)) for height, width in np.asarray(image_sizes)]
        if not self.training:
            return self.detect(images, sizes)
        if self.freeze_detector and self.backbone.training:
            self.backbone.eval()  # a layer around this one switches all layers inside, without asking them
        if targets is None or len(targets) != len(images):
            given = "none" if targets is None else len(targets)
            raise ValueError(f"training needs one Targets for each of {len(images)} images, got {given}")
        return self.losses(images, sizes, [usable_targets(t, size) for t, size in zip(targets, sizes)])

    def features(self, images: paddle.Tensor) -> list[paddle.Tensor]:
        """Computes the pyramid, P2 to P6, of images [N, C, H, W]: maps [N, fpn_channels, H_i, W_i], fine -> coarse."""
        maps = self.backbone(images)
        levels = self.fpn([maps[i] for i in self.backbone_indices])
        return [*levels, levels[-1][:, :, ::2, ::2]]

    @paddle.no_grad()
    def detect(self, images: paddle.Tensor, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """Finds the objects in images; see `forward`."""
        levels, found = self.detect_boxes(images, image_sizes)
        counts = [len(boxes) for boxes, _, _ in found]
        boxes, _, classes = (paddle.concat(parts) for parts in zip(*found))
        masks, coarse_masks = (paddle.split(m, counts) for m in self.mask_head.predict(levels, boxes, counts, classes))
        return [Detections(*parts, m, c) for parts, m, c in zip(found, masks, coarse_masks)]

    @paddle.no_grad()
    def detect_boxes(
        self, images: paddle.Tensor, image_sizes: Sequence[tuple[int, int]]
    ) -> tuple[list[paddle.Tensor], list[tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]]]:
        """Does what comes before the mask head: the levels that it reads, and what BoxHead.detect finds."""
        levels = self.features(images)
        proposals, _ = self.rpn.propose(self.rpn(levels), image_sizes)
        levels = levels[:-1]
        pooled = self.box_head.pool(levels, paddle.concat(proposals), [len(boxes) for boxes in proposals])
        scores, deltas = self.box_head(pooled)
        return levels, self.box_head.detect(scores, deltas, proposals, image_sizes)

    def losses(
        self, images: paddle.Tensor, image_sizes: Sequence[tuple[int, int]], targets: list[Targets]
    ) -> dict[str, paddle.Tensor]:
        """Computes the losses of images; targets are tensors, boxes with an area. See `forward`."""
        with paddle.no_grad() if self.freeze_detector else contextlib.nullcontext():
            levels = self.features(images)
            predictions = self.rpn(levels)
            losses = {} if self.freeze_detector else self.rpn.losses(predictions, targets)
            proposals, _ = self.rpn.propose(predictions, image_sizes)
            samples = [self._sample(boxes, target) for boxes, target in zip(proposals, targets)]
            boxes, counts = paddle.concat([s.boxes for s in samples]), [len(s.boxes) for s in samples]
            levels = levels[:-1]
            scores, deltas = self.box_head(self.box_head.pool(levels, boxes, counts))
            if not self.freeze_detector:
                losses |= self.box_head.losses(scores, deltas, samples, targets)
        return losses | self._mask_losses(levels, boxes, deltas, samples, targets)

    def _sample(self, proposals: paddle.Tensor, target: Targets) -> SampledBoxes:
        return sample_proposals(
            proposals, target, self.num_classes, self.num_samples, self.positive_fraction, self.positive_iou
        )

    def _mask_losses(self, levels, boxes, deltas, samples, targets):
        """The mask head's losses on the samples that show objects."""
        shows_object = [sample.classes < self.num_classes for sample in samples]
        counts = [int(part.sum()) for part in shows_object]
        classes = np.concatenate([sample.classes[part] for sample, part in zip(samples, shows_object)])
        matches = [sample.matches[part] for sample, part in zip(samples, shows_object)]
        matched = MatchedMasks(classes, [target.masks for target in targets], matches)
        if not len(classes):
            return self._no_mask_losses()
        places = paddle.to_tensor(np.flatnonzero(np.concatenate(shows_object)))
        boxes = paddle.gather(boxes, places)
        if self.mask_head.train_on_predicted_boxes:
            boxes = self.box_head.boxes_of_classes(paddle.gather(deltas, places), boxes, classes)
        return self.mask_head.losses(levels, boxes, counts, matched)

    def _no_mask_losses(self):
        """Zeros, with gradients of zero for every parameter, which data parallel training waits for."""
        zero = sum((parameter.sum() * 0 for parameter in self.mask_head.parameters()), paddle.zeros([]))
        names = ["loss_mask", "loss_mask_point"] if isinstance(self.mask_head, PointRendMaskHead) else ["loss_mask"]
        return {name: zero for name in names}


def _check_mask_head(mask_head, num_classes, fpn_channels, strides):
    if mask_head.num_classes != num_classes:
        raise ValueError(
            f"num_classes is {num_classes} for MaskRCNN and {mask_head.num_classes} for its mask head; "
            "set both to the dataset's"
        )
    if mask_head.in_channels != fpn_channels:
        raise ValueError(
            f"the mask head takes {mask_head.in_channels} channels, the pyramid has fpn_channels: {fpn_channels}; "
            f"set in_channels: {fpn_channels} in mask_head"
        )
    if mask_head.strides != strides[: len(mask_head.strides)]:
        raise ValueError(f"the mask head is for strides {mask_head.strides}, the pyramid has {strides}")
