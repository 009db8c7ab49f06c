"""Our Mask R-CNN beside detectron2's, stage by stage, both beside detectron2's in float64."""

import pathlib
from unittest import mock

import numpy as np
import paddle

from paddle_pointrend.convert import convert_state
from paddle_pointrend.data.paste import paste_masks
from paddle_pointrend.models.instance import PointRendMaskHead
from paddle_pointrend.paddleseg.configs import load_config, make_builder
from paddle_pointrend.points import choose_execution
from torch_parity.detectron2_instances import InstanceReference
from torch_parity.errors import relative_l2, share_of_common

CONFIGS = pathlib.Path(__file__).parents[2] / "configs" / "coco"
# Our config of each of the reference's, and what is changed in it.
OUR_CONFIGS = {
    "pointrend_r50": ("pointrend_rcnn_R_50_FPN_1x.yml", []),
    "pointrend_r101": ("pointrend_rcnn_R_50_FPN_3x.yml", ["model.backbone.depth=101"]),
    "pointrend_x101": ("pointrend_rcnn_X_101_32x8d_FPN_3x.yml", []),
    "mask_rcnn_r50": ("mask_rcnn_R_50_FPN_1x.yml", []),
}


class InstancePair:
    """A reference and our network with its weights."""

    def __init__(self, reference: InstanceReference) -> None:
        self.reference = reference
        config, opts = OUR_CONFIGS[reference.name]
        self.model = make_builder(load_config(CONFIGS / config, opts)).model
        self.load()

    def load(self) -> int:
        """Gives our network the reference's weights, through the converter that users have; returns their number."""
        state = convert_state(self.reference.state(), "detectron2", self.model)
        self.model.set_state_dict(state)
        return len(state)

    def inputs(self, images: list[np.ndarray]) -> tuple[paddle.Tensor, list[tuple[int, int]]]:
        """Normalises and pads BGR images uint8 [H, W, 3] as the reference's config says: (images, sizes)."""
        config = self.reference.config.MODEL
        mean, std = np.float32(config.PIXEL_MEAN), np.float32(config.PIXEL_STD)
        sizes = [image.shape[:2] for image in images]
        height, width = (-(-max(sides) // 32) * 32 for sides in zip(*sizes))
        padded = np.zeros([len(images), 3, height, width], np.float32)
        for target, image in zip(padded, images):
            target[:, : image.shape[0], : image.shape[1]] = ((image - mean) / std).transpose(2, 0, 1)
        return paddle.to_tensor(padded), sizes


def compare_stages(
    pair: InstancePair, images: list[np.ndarray], max_detections: int = 20
) -> dict[str, dict[str, float]]:
    """Measures how far both sides are from the reference in float64; every part gets the float64's input.

    Args:
        pair: both sides.
        images: BGR, uint8 [H, W, 3].
        max_detections: of an image; of each the reference keeps masks of all classes, 64 MB in float64, several times.

    Returns:
        Stage -> {"ours", "theirs"}: relative L2 distances; of the points chosen the share that float64 does not choose;
        of the proposals the share that stands elsewhere in the order or is missing; of the detections the largest
        distance of a coordinate, infinite where order or number differ.
    """
    with (
        mock.patch.object(pair.reference.heads.box_predictor, "test_topk_per_image", max_detections),
        mock.patch.object(pair.model.box_head, "max_detections", max_detections),
    ):
        return _compare_stages(pair, images)


@paddle.no_grad()
def _compare_stages(pair, images):
    reference, model = pair.reference, pair.model
    tensors, sizes = pair.inputs(images)
    with reference.in_float64():
        exact = reference.features(images)
        proposals = reference.proposals(images)
        exact |= reference.box_stages(images, proposals)
        found = reference.detections(images, proposals)
        boxes, classes = ([image[name] for image in found] for name in ("boxes", "classes"))
        exact |= reference.mask_stages(images, boxes, classes)
    theirs = reference.features(images) | reference.box_stages(images, proposals)
    theirs |= reference.mask_stages(images, boxes, classes)
    their_detections = reference.detections(images, proposals)

    model.eval()
    levels = model.features(tensors)
    predictions = model.rpn(levels)
    ours = {f"p{i + 2}": level.numpy() for i, level in enumerate(levels)}
    for i, (logits, deltas, level) in enumerate(zip(predictions.logits, predictions.deltas, levels)):
        shape = [len(images), *level.shape[2:], -1]
        ours[f"rpn{i + 2}.logits"] = logits.reshape(shape).transpose([0, 3, 1, 2]).numpy()
        ours[f"rpn{i + 2}.deltas"] = deltas.reshape(shape).transpose([0, 3, 1, 2]).numpy()
    given = [paddle.to_tensor(p.astype("float32")) for p in proposals]
    pooled = model.box_head.pool(levels[:4], paddle.concat(given), [len(p) for p in given])
    scores, deltas = model.box_head(pooled)
    ours |= {"pooled boxes": pooled.numpy(), "scores": scores.numpy(), "deltas": deltas.flatten(1).numpy()}
    our_detections = [
        dict(zip(("boxes", "scores", "classes"), (x.numpy() for x in image)))
        for image in model.box_head.detect(scores, deltas, given, sizes)
    ]
    ours |= _mask_stages(model, levels[:4], boxes, classes)

    rows = {name: _distances(name, ours[name], theirs[name], exact[name]) for name in exact}
    rows["proposals"] = {
        "ours": _share_elsewhere([boxes.numpy() for boxes in model.rpn.propose(predictions, sizes)[0]], proposals),
        "theirs": _share_elsewhere(reference.proposals(images), proposals),
    }
    rows["detections"] = {
        "ours": _detections_distance(our_detections, found),
        "theirs": _detections_distance(their_detections, found),
    }
    return rows


def _mask_stages(model, levels, boxes, classes):
    head, counts = model.mask_head, [len(b) for b in boxes]
    boxes = paddle.to_tensor(np.concatenate(boxes).astype("float32"))
    classes = paddle.to_tensor(np.concatenate(classes))
    if not isinstance(head, PointRendMaskHead):
        return {"masks": head.predict(levels, boxes, counts, classes)[0].numpy()}
    coarse = head.coarse_logits(levels, boxes, counts, choose_execution(levels[0], *head.parameters()))
    steps = []
    masks, _ = head.predict(levels, boxes, counts, classes, steps)
    stages = {"coarse masks": coarse.numpy(), "masks": masks.numpy()}
    for i in range(head.num_steps):
        blocks = [step.indices.numpy() for step in steps[i :: head.num_steps]]  # every block of boxes has its steps
        stages[f"step{i + 1}.points"] = np.concatenate(blocks)
    return stages


def _distances(name, ours, theirs, exact):
    sides = {"ours": ours, "theirs": theirs}
    if name.endswith("points"):
        return {side: 1 - share_of_common(indices, exact) for side, indices in sides.items()}
    return {side: relative_l2(array, exact) for side, array in sides.items()}


def _share_elsewhere(boxes, others, pixels=0.01):
    """The share of boxes that are not within some pixels of the box at the same place."""
    if any(len(a) != len(b) for a, b in zip(boxes, others)):
        return 1.0
    return float(np.mean(np.concatenate([np.abs(a - b).max(axis=1) > pixels for a, b in zip(boxes, others)])))


def _detections_distance(found, others):
    if not all(np.array_equal(a["classes"], b["classes"]) for a, b in zip(found, others)):
        return float("inf")
    return max(float(np.abs(a["boxes"] - b["boxes"]).max(initial=0)) for a, b in zip(found, others))


def compare_results(pair: InstancePair, images: list[np.ndarray], sizes: list[tuple[int, int]]) -> dict[str, float]:
    """Runs both whole networks on images, with results scaled to `sizes`: what differs.

    Returns:
        detections: their number; different: those whose class or place in the order differs; box: the largest distance
        of a coordinate, pixels; score: the largest difference; pixels: the share of the masks' pixels that differ, of
        those that belong to either mask; image pixels: of all.
    """
    tensors, input_sizes = pair.inputs(images)
    pair.model.eval()
    ours = [
        scaled_to(found, before, after)
        for found, before, after in zip(pair.model(tensors, input_sizes), input_sizes, sizes)
    ]
    counts = {"detections": 0, "different": 0}
    worst = {"box": 0.0, "score": 0.0}
    wrong = belonging = total = 0
    for i, a in enumerate(ours):
        (b,) = pair.reference.inference([images[i]], [sizes[i]])  # one at a time, for the reference's memory
        counts["detections"] += len(b["classes"])
        if not np.array_equal(a["classes"], b["classes"]):
            counts["different"] += max(len(a["classes"]), len(b["classes"]))
            continue
        worst["box"] = max(worst["box"], float(np.abs(a["boxes"] - b["boxes"]).max(initial=0)))
        worst["score"] = max(worst["score"], float(np.abs(a["scores"] - b["scores"]).max(initial=0)))
        wrong += int((a["masks"] != b["masks"]).sum())
        belonging += int((a["masks"] | b["masks"]).sum())
        total += b["masks"].size
    return counts | worst | {"pixels": wrong / max(belonging, 1), "image pixels": wrong / max(total, 1)}


def scaled_to(found, input_size, size):
    """Detections as the reference gives them: boxes scaled, clipped, those without area left out, masks pasted."""
    factors = np.float32([size[1] / input_size[1], size[0] / input_size[0]] * 2)
    boxes = (found.boxes.numpy() * factors).clip(0, np.float32([size[1], size[0]] * 2))
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    masks = paste_masks(found.masks.numpy()[kept], boxes[kept], size)
    return {
        "boxes": boxes[kept],
        "scores": found.scores.numpy()[kept],
        "classes": found.classes.numpy()[kept],
        "masks": masks,
    }
