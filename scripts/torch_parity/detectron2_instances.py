"""detectron2's Mask R-CNNs, its own and PointRend's, from a checkout, on CPU; its compiled extension is not needed."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from unittest import mock

import numpy as np

from torch_parity import torchvision_on_cpu
from torch_parity.placeholders import PlaceholderFinder
from torch_parity.reference import as_array

POINTREND = "projects/PointRend/configs/InstanceSegmentation/"
CONFIGS = {
    "pointrend_r50": POINTREND + "pointrend_rcnn_R_50_FPN_1x_coco.yaml",
    "pointrend_r101": POINTREND + "pointrend_rcnn_R_101_FPN_3x_coco.yaml",
    "pointrend_x101": POINTREND + "pointrend_rcnn_X_101_32x8d_FPN_3x_coco.yaml",
    "mask_rcnn_r50": "configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
}


class InstanceReference:
    """A GeneralizedRCNN of detectron2.

    Args:
        folder: a checkout of detectron2.
        name: a key of CONFIGS.
        options: changes of its config, alternating keys and values.
    """

    def __init__(self, folder: str | os.PathLike, name: str, options: tuple = ()) -> None:
        self.name = name
        self.config = _load_config(pathlib.Path(folder), CONFIGS[name], options)
        from detectron2.modeling import build_model

        self.model = build_model(self.config).eval()
        self.heads = self.model.roi_heads

    def state(self) -> dict[str, np.ndarray]:
        """Copies the state dict into NumPy."""
        return {name: as_array(tensor) for name, tensor in self.model.state_dict().items()}

    def batch(self, images: list[np.ndarray], targets: list | None = None) -> list[dict]:
        """Makes what the model takes, of BGR images uint8 [H, W, 3] and, for training, our Targets of arrays."""
        import torch
        from detectron2.structures import BitMasks, Boxes, Instances

        entries = []
        for i, image in enumerate(images):
            entry = {"image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))}
            if targets is not None:
                instances = Instances(image.shape[:2])
                instances.gt_boxes = Boxes(torch.from_numpy(targets[i].boxes))
                instances.gt_classes = torch.from_numpy(targets[i].classes)
                instances.gt_masks = BitMasks(torch.from_numpy(targets[i].masks.astype(bool)))
                entry["instances"] = instances
            entries.append(entry)
        return entries

    def features(self, images: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Computes p2 to p6, and the RPN's logits and deltas of every level."""
        inputs, features = self._run_backbone(images)
        del inputs
        generator = self.model.proposal_generator
        logits, deltas = generator.rpn_head([features[name] for name in generator.in_features])
        stages = {name: as_array(features[name]) for name in generator.in_features}
        stages |= {f"rpn{i + 2}.logits": as_array(x) for i, x in enumerate(logits)}
        return stages | {f"rpn{i + 2}.deltas": as_array(x) for i, x in enumerate(deltas)}

    def proposals(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Computes the proposals' boxes [R_i, 4] of each image."""
        proposals, _ = self.model.proposal_generator(*self._run_backbone(images), None)
        return [as_array(p.proposal_boxes.tensor) for p in proposals]

    def box_stages(self, images: list[np.ndarray], proposals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Computes what the box head makes of given proposals: pooled maps, scores, deltas."""
        _, features = self._run_backbone(images)
        pooled, scores, deltas = self._box_head(features, proposals)
        return {"pooled boxes": as_array(pooled), "scores": as_array(scores), "deltas": as_array(deltas)}

    def detections(self, images: list[np.ndarray], proposals: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Computes boxes, scores and classes of each image, of given proposals."""
        inputs, features = self._run_backbone(images)
        _, scores, deltas = self._box_head(features, proposals)
        found, _ = self.heads.box_predictor.inference(
            (scores, deltas), self._instances(inputs.image_sizes, proposal_boxes=proposals)
        )
        return [_boxes_of(instances) for instances in found]

    def mask_stages(self, images: list[np.ndarray], boxes: list, classes: list) -> dict[str, np.ndarray]:
        """Computes what the mask head makes of given boxes: coarse masks, points of each step, masks."""
        inputs, features = self._run_backbone(images)
        found = self._instances(inputs.image_sizes, pred_boxes=boxes)
        for instances, of_image in zip(found, classes):
            instances.pred_classes = _tensor(of_image)
        stages, head = {}, self.heads.mask_head
        if hasattr(head, "coarse_head"):
            pooled = head._roi_pooler(features, [instances.pred_boxes for instances in found])
            stages["coarse masks"] = as_array(head.coarse_head(pooled))
        with self._watch_points() as points:
            self.heads._forward_mask(features, found)
        stages |= {f"step{i + 1}.points": as_array(indices) for i, (indices, _) in enumerate(points)}
        masks = [as_array(instances.pred_masks)[:, 0] for instances in found]
        return stages | {"masks": np.concatenate(masks)}

    def inference(self, images: list[np.ndarray], sizes: list[tuple[int, int]]) -> list[dict[str, np.ndarray]]:
        """Runs the whole model; results are scaled to `sizes`: boxes, scores, classes, masks bool [D, *size]."""
        import torch

        batch = [e | {"height": h, "width": w} for e, (h, w) in zip(self.batch(images), sizes)]
        with torch.no_grad():
            outputs = [output["instances"] for output in self.model.eval()(batch)]
        return [_boxes_of(found) | {"masks": as_array(found.pred_masks)} for found in outputs]

    def losses(self, images: list[np.ndarray], targets: list) -> dict:
        """Computes the losses of a training step, torch scalars with a graph."""
        from detectron2.utils.events import EventStorage

        self.model.train()
        with EventStorage():
            return self.model(self.batch(images, targets))

    @contextlib.contextmanager
    def in_float64(self) -> Iterator[None]:
        """Inside, the model and what it makes are float64; its weights are afterwards what they were before."""
        import torch

        to_double = mock.patch.object(torch.Tensor, "float", lambda tensor: tensor.double(), create=True)
        names = [mock.patch.object(torch, name, torch.float64) for name in ("float", "float32")]
        torch.set_default_dtype(torch.float64)
        try:
            with to_double, names[0], names[1]:
                self.model.double()
                yield
        finally:
            torch.set_default_dtype(torch.float32)
            self.model.float()

    def _run_backbone(self, images):
        import torch

        with torch.no_grad():
            inputs = self.model.eval().preprocess_image(self.batch(images))
            return inputs, {name: f.detach() for name, f in self.model.backbone(inputs.tensor).items()}

    def _box_head(self, features, proposals):
        import torch
        from detectron2.structures import Boxes

        with torch.no_grad():
            maps = [features[name] for name in self.heads.box_in_features]
            pooled = self.heads.box_pooler(maps, [Boxes(_tensor(boxes)) for boxes in proposals])
            return pooled, *self.heads.box_predictor(self.heads.box_head(pooled))

    def _instances(self, sizes, **boxes):
        from detectron2.structures import Boxes, Instances

        ((field, of_images),) = boxes.items()
        found = [Instances(size) for size in sizes]
        for instances, of_image in zip(found, of_images):
            instances.set(field, Boxes(_tensor(of_image)))
        return found

    @contextlib.contextmanager
    def _watch_points(self):
        """Yields a list of what get_uncertain_point_coords_on_grid gives."""
        module = sys.modules.get("point_rend.mask_head")
        choose, calls = module.get_uncertain_point_coords_on_grid, []

        def watch(*arguments):
            calls.append(choose(*arguments))
            return calls[-1]

        with mock.patch.object(module, "get_uncertain_point_coords_on_grid", watch):
            yield calls


def _boxes_of(instances):
    named = {"boxes": instances.pred_boxes.tensor, "scores": instances.scores, "classes": instances.pred_classes}
    return {name: as_array(tensor) for name, tensor in named.items()}


def _tensor(array):
    """A tensor of the default dtype; integers stay."""
    import torch

    tensor = torch.from_numpy(np.asarray(array))
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _load_config(folder, name, options):
    project = folder / "projects" / "PointRend"
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder} is not a checkout of detectron2: it has no {name}")
    torchvision_on_cpu.prepare()
    sys.meta_path.append(PlaceholderFinder())
    for path in (project, folder):
        if os.fspath(path) not in sys.path:
            sys.path.insert(0, os.fspath(path))
    from detectron2.config import get_cfg
    from point_rend import add_pointrend_config

    config = get_cfg()
    add_pointrend_config(config)
    config.merge_from_file(os.fspath(folder / name))
    config.MODEL.DEVICE, config.MODEL.WEIGHTS = "cpu", ""
    config.merge_from_list(list(options))
    return config
