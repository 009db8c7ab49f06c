"""detectron2's PointRend, from a checkout. What is not installed and takes no part in the computation is replaced:
torchvision and the compiled operations by placeholders.
"""

import contextlib
import importlib.util
import os
import pathlib
import sys

import numpy as np

from torch_parity.placeholders import PlaceholderFinder
from torch_parity.reference import Reference, Trajectory, as_array

DETECTRON2_CONFIG = "configs/SemanticSegmentation/pointrend_semantic_R_101_FPN_1x_cityscapes.yaml"


class Detectron2Reference(Reference):
    """The authors' SemanticSegmentor.

    Args:
        folder: a checkout of detectron2. Its `projects/PointRend` is needed even where detectron2 is installed.
    """

    source = "detectron2"

    def __init__(self, folder: str | os.PathLike) -> None:
        self.config = _detectron2_config(pathlib.Path(folder))
        from detectron2.modeling import build_model

        self.model = build_model(self.config)
        self.warmup_iters = self.config.SOLVER.WARMUP_ITERS
        self.num_train_points = self.config.MODEL.POINT_HEAD.TRAIN_NUM_POINTS
        self.num_classes = self.config.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        head = self.model.sem_seg_head
        self._points_module = sys.modules[type(head).__module__]
        self.backbone, self.neck = (self.model.backbone.bottom_up, "forward"), (self.model.backbone, "forward")
        self.coarse = (head.coarse_sem_seg_head, "layers")
        self.step_map = (self._points_module, "calculate_uncertainty")
        self.step_points = (self._points_module, "get_uncertain_point_coords_on_grid")
        self.point_head = (head.point_head, "forward")
        self.train_points = (self._points_module, "get_uncertain_point_coords_with_randomness")

    def predict_raw(self, image: np.ndarray) -> np.ndarray:
        """Predicts the logits [K, H, W] of a BGR image, uint8 [H, W, 3], with detectron2's own preprocessing."""
        import torch

        self.model.eval()
        with torch.no_grad():
            pixels = torch.from_numpy(image.astype("float32").transpose(2, 0, 1))
            return as_array(self.model([{"image": pixels}])[0]["sem_seg"])

    def sgd(self, start: int) -> Trajectory:
        """Makes the recipe's optimizer, at iteration `start`: a function (images, labels, coords) -> (losses, lr)."""
        from detectron2.solver import build_lr_scheduler, build_optimizer

        optimizer = build_optimizer(self.config, self.model)
        return Trajectory(self, optimizer, [build_lr_scheduler(self.config, optimizer)], start)

    @contextlib.contextmanager
    def _normalised(self):
        import torch

        mean, std = self.model.pixel_mean, self.model.pixel_std
        self.model.pixel_mean, self.model.pixel_std = torch.zeros_like(mean), torch.ones_like(std)
        try:
            yield
        finally:
            self.model.pixel_mean, self.model.pixel_std = mean, std

    def _logits(self, images):
        import torch

        return torch.stack([output["sem_seg"] for output in self.model([{"image": image} for image in images])])

    def _losses(self, images, labels):
        losses = self.model([{"image": image, "sem_seg": label} for image, label in zip(images, labels)])
        return losses["loss_sem_seg"], losses["loss_sem_seg_point"]

    def _sample(self, logits, num_points):
        uncertainty = self._points_module.calculate_uncertainty
        return getattr(*self.train_points)(logits, uncertainty, num_points, 3, 0.75)


def _detectron2_config(folder):
    project = folder / "projects" / "PointRend"
    if not (project / DETECTRON2_CONFIG).is_file():
        raise FileNotFoundError(f"{folder} is not a checkout of detectron2: it has no projects/PointRend")
    sys.meta_path.append(PlaceholderFinder())
    if importlib.util.find_spec("detectron2") is None:
        sys.path.insert(0, os.fspath(folder))
    sys.path.insert(0, os.fspath(project))
    from detectron2.config import get_cfg
    from point_rend import add_pointrend_config

    config = get_cfg()
    add_pointrend_config(config)
    config.merge_from_file(os.fspath(project / DETECTRON2_CONFIG))
    config.MODEL.DEVICE = "cpu"
    return config
