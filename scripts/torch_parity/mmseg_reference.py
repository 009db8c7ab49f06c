"""mmsegmentation's PointRend; with mmcv-lite, `mmcv.ops` is a module whose `point_sample` is written with torch."""

import importlib.util
import pathlib
import sys
import types
from collections.abc import Iterable, Sequence

import numpy as np

from torch_parity.placeholders import Placeholder
from torch_parity.reference import Reference, Trajectory, as_array

MMSEG_CONFIGS = {
    "r50_cityscapes": "pointrend_r50_4xb2-80k_cityscapes-512x1024.py",
    "r101_cityscapes": "pointrend_r101_4xb2-80k_cityscapes-512x1024.py",
    "r50_ade20k": "pointrend_r50_4xb4-160k_ade20k-512x512.py",
    "r101_ade20k": "pointrend_r101_4xb4-160k_ade20k-512x512.py",
}


class MMSegReference(Reference):
    """mmsegmentation's CascadeEncoderDecoder, its SyncBN as BN.

    Args:
        name: a key of MMSEG_CONFIGS.
    """

    source = "mmseg"
    warmup_iters = 200

    def __init__(self, name: str) -> None:
        module, self.config = _mmseg_with_config(name)
        from mmengine.model import revert_sync_batchnorm

        self.config.model.pretrained = None
        self.config.model.backbone.pop("init_cfg", None)
        self.model = revert_sync_batchnorm(module.models.build_segmentor(self.config.model))
        self.num_train_points = self.config.model.train_cfg.num_points
        self.num_classes = self.model.num_classes
        head, point_head = self.model.decode_head
        self.backbone, self.neck = (self.model.backbone, "forward"), (self.model.neck, "forward")
        self.coarse = (head, "forward")
        self.step_map = (sys.modules[type(point_head).__module__], "calculate_uncertainty")
        self.step_points = (point_head, "get_points_test")
        self.point_head = (point_head, "forward")
        self.train_points = (point_head, "get_points_train")

    def predict_raw(self, image: np.ndarray) -> np.ndarray:
        """Predicts the logits [K, H, W] of a BGR image, uint8 [H, W, 3], with mmsegmentation's own preprocessing."""
        import torch

        self.model.eval()
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        sample = mmseg_samples(image.shape[:2], [None])[0]
        with torch.no_grad():
            return as_array(self.model.test_step({"inputs": [pixels], "data_samples": [sample]})[0].seg_logits.data)

    def sgd(self, start: int) -> Trajectory:
        """Makes the recipe's optimizer, at iteration `start`: a function (images, labels, coords) -> (losses, lr)."""
        from mmengine.optim import build_optim_wrapper
        from mmengine.registry import PARAM_SCHEDULERS

        wrapper = build_optim_wrapper(self.model, self.config.optim_wrapper.copy())
        schedulers = [
            PARAM_SCHEDULERS.build({**scheduler, "optimizer": wrapper.optimizer})
            for scheduler in self.config.param_scheduler
        ]
        return Trajectory(self, wrapper.optimizer, schedulers, start)

    def _logits(self, images):
        size = tuple(images.shape[2:])
        return self.model.inference(images, [{"img_shape": size, "ori_shape": size}] * len(images))

    def _losses(self, images, labels):
        losses = self.model.loss(images, mmseg_samples(images.shape[2:], labels))
        return losses["decode_0.loss_ce"], losses["decode_1.pointloss_ce"]

    def _sample(self, logits, num_points):
        owner, name = self.train_points
        config = types.SimpleNamespace(num_points=num_points, oversample_ratio=3, importance_sample_ratio=0.75)
        uncertainty = sys.modules[type(owner).__module__].calculate_uncertainty
        return getattr(owner, name)(logits, uncertainty, cfg=config)


def _mmseg_with_config(name):
    """The imported package and its own config, in full."""
    replace_compiled_operations()
    import mmseg
    import mmseg.models
    from mmengine.config import Config
    from mmseg.utils import register_all_modules

    register_all_modules()
    folder = pathlib.Path(mmseg.__file__).parent / ".mim" / "configs" / "point_rend"
    return mmseg, Config.fromfile(folder / MMSEG_CONFIGS[name])


def replace_compiled_operations() -> None:
    """Puts a stand-in in the place of mmcv.ops, whose compiled module mmcv-lite lacks, before mmseg is imported."""
    if importlib.util.find_spec("mmcv._ext") is None and not isinstance(sys.modules.get("mmcv.ops"), Placeholder):
        import mmcv

        mmcv.ops = sys.modules["mmcv.ops"] = _point_operations()


def _point_operations():
    """A stand-in for mmcv.ops; anything of it but point_sample raises when it is called."""
    import torch.nn.functional as F

    def point_sample(features, points, align_corners=False, **kwargs):
        grid = 2 * points.unsqueeze(2) - 1
        return F.grid_sample(features, grid, align_corners=align_corners, **kwargs).squeeze(3)

    module = Placeholder("mmcv.ops")
    module.point_sample = point_sample
    return module


def mmseg_samples(size: Sequence[int], labels: Iterable) -> list:
    """Makes mmsegmentation's samples of images of one size (height, width); a label is integers [H, W], or None."""
    import torch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for label in labels:
        sample = SegDataSample(metainfo={"img_shape": tuple(size), "ori_shape": tuple(size)})
        if label is not None:
            sample.gt_sem_seg = PixelData(data=torch.as_tensor(label).unsqueeze(0))
        samples.append(sample)
    return samples
