"""Writes trained networks of instances to files that run without their Python code.

They are three graphs, each for one image: "features", the pyramid and where every anchor leads; "boxes", what the
proposals show; "masks". What lies between them, a choice of boxes each, is inference/boxes.py.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.static import InputSpec

from paddle_pointrend.data.found_instances import Instances
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.deploy.deploy_file import FILE_NAME, DeployFile
from paddle_pointrend.deploy.instance_settings import GRAPHS, InstanceSettings
from paddle_pointrend.deploy.onnx_conversion import check_paddle2onnx, convert_to_onnx
from paddle_pointrend.deploy.tracing import save_graph
from paddle_pointrend.models.instance import MaskRCNN, PointRendMaskHead
from paddle_pointrend.models.instance.boxes import decode_boxes
from paddle_pointrend.models.instance.roi_align import pool_in_graph
from paddle_pointrend.models.instance.rpn import DELTA_WEIGHTS
from paddle_pointrend.points.graph import ONNX_GRAPH, PADDLE_GRAPH


def export_instances(
    model: MaskRCNN,
    folder: str | os.PathLike,
    *,
    format: str,
    classes: Sequence[str],
    category_ids: Sequence[int],
    images: CocoInstances,
) -> None:
    """Writes a network of instances into a folder: images of any size, any number of objects.

    The folder gets three graphs, `features`, `boxes` and `masks`, and `deploy.yaml`, which says what lies between them.

    Args:
        model: is put into eval mode.
        folder: is made where it does not exist.
        format: "paddle" or "onnx".
        classes: K names.
        category_ids: K ids of COCO's results.
        images: says how images are resized and normalised.

    Raises:
        ExportError: Paddle or paddle2onnx cannot do it.
    """
    if format == "onnx":
        check_paddle2onnx()
    model.eval()
    head, rpn, box_head = model.mask_head, model.rpn, model.box_head
    settings = InstanceSettings(
        short_side=images.short_sides[-1],
        longest_side=images.longest_side,
        category_ids=[int(i) for i in category_ids],
        strides=list(model.strides),
        num_mask_levels=len(head.strides),
        predictions=["coarse", "refined"] if isinstance(head, PointRendMaskHead) else ["prediction"],
        pre_nms_top_n=rpn.pre_nms_top_n[1],
        post_nms_top_n=rpn.post_nms_top_n[1],
        proposal_nms_threshold=rpn.nms_threshold,
        score_threshold=box_head.score_threshold,
        nms_threshold=box_head.nms_threshold,
        max_detections=box_head.max_detections,
    )
    deploy = DeployFile(
        deploy={"model": [f"{graph}.{'onnx' if format == 'onnx' else 'json'}" for graph in GRAPHS], "transforms": []},
        format=format,
        output="instances",
        num_classes=model.num_classes,
        classes=list(classes),
        palette=[],
        channels=images.channels.lower(),
        mean=images.mean.tolist(),
        std=images.std.tolist(),
        instances=settings,
    )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as draft_folder:
        draft = pathlib.Path(draft_folder)
        _write_graphs(model, draft, format, settings)
        deploy.with_checksums(draft).write(draft)
        for name in [*deploy.files, FILE_NAME]:
            os.replace(draft / name, folder / name)


def _write_graphs(model, folder, format, settings):
    num_levels, channels = len(settings.strides), model.mask_head.in_channels
    images = InputSpec([1, model.in_channels, None, None], "float32", "images")
    levels = [InputSpec([1, channels, None, None], "float32", f"p{i}") for i in range(num_levels)]
    boxes = [InputSpec([None, 4], "float32", f"boxes{i}") for i in range(num_levels)]
    classes = InputSpec([None], "int64", "classes")
    features = [f"p{i}" for i in range(num_levels)]
    for i in range(num_levels + 1):  # the pyramid's last level is for proposals alone
        features += [f"logits{i}", f"anchor_boxes{i}"]
    of_masks = slice(settings.num_mask_levels)
    execution = ONNX_GRAPH if format == "onnx" else PADDLE_GRAPH
    graphs = {
        "features": (_Features(model), [images], features),
        "boxes": (_Boxes(model), [levels, boxes], ["class_boxes", "probabilities"]),
        "masks": (
            _Masks(model, execution),
            [levels[of_masks], boxes[of_masks], classes],
            ["masks", "coarse_masks"][: len(settings.predictions)],
        ),
    }
    for name, (layer, spec, outputs) in graphs.items():
        save_graph(layer, folder / name, spec, format)
        if format == "onnx":
            convert_to_onnx(folder, outputs, name)


class _Features(nn.Layer):
    """Of images [1, C, H, W] the levels that the heads read, and of each level the anchors' logits and boxes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        levels = self.model.features(images)
        outputs = list(levels[:-1])
        for logits, deltas, anchors in zip(*self.model.rpn(levels)):
            outputs.append(logits.squeeze(0))
            outputs.append(decode_boxes(deltas.squeeze(0), anchors, DELTA_WEIGHTS))
        return outputs


class _Boxes(nn.Layer):
    """Of proposals, sorted by the level that they are read from, the boxes of each class and the probabilities."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, levels, boxes):
        head = self.model.box_head
        scores, deltas = head(pool_in_graph(levels, head.strides, boxes, head.pool_size))
        return head.candidates(scores, deltas, paddle.concat(boxes))


class _Masks(nn.Layer):
    """Of detections, sorted by level, the masks of their classes."""

    def __init__(self, model, execution):
        super().__init__()
        self.model, self.execution = model, execution

    def forward(self, levels, boxes, classes):
        return self.model.mask_head.predict_in_graph(levels, boxes, classes, self.execution)


def compare_instances(expected: Sequence[Instances], found: Sequence[Instances]) -> dict[str, Any]:
    """Compares what two ways of running a network find in the same images.

    Returns:
        "images" and "detections", how many; "same_detections", whether they are of the same number and classes with
        boxes within a hundredth of the image's longer side and scores within 1e-3; and where they are "same_order" and
        "different_pixels", the share of all masks' pixels.
    """
    row: dict[str, Any] = {"images": len(expected), "detections": sum(len(one.scores) for one in expected)}
    partners = [_partners(one, other) for one, other in zip(expected, found, strict=True)]
    row["same_detections"] = all(places is not None for places in partners)
    if row["same_detections"]:
        row["same_order"] = all(np.array_equal(places, np.arange(len(places))) for places in partners)
        different = total = 0
        for one, other, places in zip(expected, found, partners):
            for i, place in enumerate(places):
                differs = one.masks(which=slice(i, i + 1)) != other.masks(which=slice(place, place + 1))
                different, total = different + int(differs.sum()), total + differs.size
        row["different_pixels"] = different / max(total, 1)
    return row


def _partners(one, other):
    """The places in `other` of the same detections, None where they are not the same."""
    if one.size != other.size or one.scores.shape != other.scores.shape:
        return None
    distances = np.abs(one.boxes[:, None] - other.boxes).max(2, initial=0) / max(one.size)
    distances += np.abs(one.scores[:, None] - other.scores) * 10
    distances[one.classes[:, None] != other.classes] = np.inf
    if not len(distances):
        return np.zeros(0, int)
    places = distances.argmin(1)
    if len(set(places)) < len(places) or distances.min(1).max() > 0.01:
        return None
    return places
