"""The two torch networks this project is measured against, behind one interface.

Both are built from their own configuration files and run their own code; nothing is downloaded. What is not installed
and takes no part in the computation is replaced: torchvision and detectron2's compiled operations by placeholders,
and, with mmcv-lite, `mmcv.ops` by a module whose `point_sample` is written with torch.

torch, mmseg and detectron2 are imported inside functions only, so that this module can be imported without them.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pathlib
import sys
import types
from unittest import mock

import numpy as np

MMSEG_CONFIGS = {
    "r50_cityscapes": "pointrend_r50_4xb2-80k_cityscapes-512x1024.py",
    "r101_cityscapes": "pointrend_r101_4xb2-80k_cityscapes-512x1024.py",
    "r50_ade20k": "pointrend_r50_4xb4-160k_ade20k-512x512.py",
    "r101_ade20k": "pointrend_r101_4xb4-160k_ade20k-512x512.py",
}
DETECTRON2_CONFIG = "configs/SemanticSegmentation/pointrend_semantic_R_101_FPN_1x_cityscapes.yaml"

# Imported by detectron2, not called by its semantic segmentation; replaced where they are not installed.
_REPLACEABLE = ("torchvision", "pycocotools", "omegaconf", "hydra", "cloudpickle", "tabulate", "tensorboard")


class _Reference:
    """One torch network. A subclass sets the attributes below and writes `_logits`, `_losses` and `_normalised`.

    Attributes:
        model: the torch module.
        source: "mmseg" or "detectron2", the name that convert_state knows.
        warmup_iters: where the recipe's warm-up ends.
        backbone, neck, coarse, step_map, step_points, point_head: pairs (owner, name of a function of it) whose calls
            are watched in `evaluate`.
        train_points: the pair (owner, name) that chooses the points of a training step.
    """

    def state(self):
        """Every entry of a checkpoint: name -> NumPy array."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self.model.state_dict().items()}

    def shapes(self):
        """Name -> shape, of every entry of a checkpoint."""
        return {name: tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}

    def load(self, state):
        """Takes the arrays of `state()`; a missing or unexpected name raises RuntimeError."""
        import torch

        self.model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})

    def evaluate(self, images):
        """Every stage of the forward pass in evaluation.

        Args:
            images: float32 [N, 3, H, W], normalised.

        Returns:
            Stage name -> array, the names of parity.paddle_stages.
        """
        import torch

        names = ("backbone", "neck", "coarse", "step_map", "step_points", "point_head")
        self.model.eval()
        with contextlib.ExitStack() as stack, torch.no_grad():
            calls = {name: stack.enter_context(_watched(*getattr(self, name))) for name in names}
            with self._normalised():
                logits = self._logits(torch.from_numpy(images))
        stages = {f"res{i + 2}": array for i, array in enumerate(_maps(calls["backbone"][0][1]))}
        stages |= {f"p{i + 2}": array for i, array in enumerate(_maps(calls["neck"][0][1]))}
        stages["coarse"] = _array(calls["coarse"][0][1])
        for i, (points, head) in enumerate(zip(calls["step_points"], calls["point_head"])):
            stages[f"step{i + 1}.indices"] = _array(points[1][0])
            stages[f"step{i + 1}.coords"] = _array(points[1][1])
            stages[f"step{i + 1}.fine"], stages[f"step{i + 1}.coarse"] = _array(head[0][0]), _array(head[0][1])
            stages[f"step{i + 1}.logits"] = _array(head[1])
            # The map whose uncertainty was asked for; the new logits have been written into it since.
            stages[f"step{i + 1}.refined"] = _array(calls["step_map"][i][0][0])
        stages["logits"] = _array(logits)
        stages["argmax"] = stages["logits"].argmax(axis=1)
        return stages

    def losses(self, images, labels, point_coords):
        """Both losses of one training step, torch scalars with a graph: (coarse, point).

        Args:
            images: float32 [N, 3, H, W], normalised.
            labels: int64 [N, H, W].
            point_coords: float32 [N, P, 2], the points to train on.
        """
        import torch

        owner, name = self.train_points
        coords = torch.from_numpy(point_coords)
        self.model.train()
        with mock.patch.object(owner, name, return_value=coords), self._normalised():
            return self._losses(torch.from_numpy(images), torch.from_numpy(labels))

    def train_step(self, images, labels, point_coords):
        """((coarse loss, point loss), parameter's name -> gradient)."""
        self.model.zero_grad()
        coarse, point = self.losses(images, labels, point_coords)
        (coarse + point).backward()
        gradients = {name: _array(p.grad) for name, p in self.model.named_parameters() if p.requires_grad}
        return (coarse.item(), point.item()), gradients

    def sampled_points(self, logits, candidates, uniform, num_points):
        """The training points chosen of given random numbers, [N, num_points, 2].

        Args:
            logits: float32 [N, K, H, W].
            candidates: float32 [N, 3 * num_points, 2], what the first torch.rand gives.
            uniform: float32 [N, num_points - floor(0.75 * num_points), 2], what the second gives.
        """
        import torch

        numbers = [torch.from_numpy(candidates), torch.from_numpy(uniform)]
        with mock.patch.object(torch, "rand", side_effect=numbers):
            return _array(self._sample(torch.from_numpy(logits), num_points))

    @contextlib.contextmanager
    def _normalised(self):
        """Inside, the model takes images that are normalised already."""
        yield


class MMSegReference(_Reference):
    """mmsegmentation's CascadeEncoderDecoder, its SyncBN as BN.

    Args:
        name: a key of MMSEG_CONFIGS.
    """

    source = "mmseg"
    warmup_iters = 200

    def __init__(self, name):
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

    def predict_raw(self, image):
        """Logits [K, H, W] of a BGR image, uint8 [H, W, 3], with mmsegmentation's own preprocessing."""
        import torch

        self.model.eval()
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        sample = _mmseg_samples(image.shape[:2], [None])[0]
        with torch.no_grad():
            return _array(self.model.test_step({"inputs": [pixels], "data_samples": [sample]})[0].seg_logits.data)

    def sgd(self, start):
        """The recipe's optimizer, at iteration `start`: a function (images, labels, coords) -> (losses, lr)."""
        from mmengine.optim import build_optim_wrapper
        from mmengine.registry import PARAM_SCHEDULERS

        wrapper = build_optim_wrapper(self.model, self.config.optim_wrapper.copy())
        schedulers = [
            PARAM_SCHEDULERS.build({**scheduler, "optimizer": wrapper.optimizer})
            for scheduler in self.config.param_scheduler
        ]
        return _Trajectory(self, wrapper.optimizer, schedulers, start)

    def _logits(self, images):
        size = tuple(images.shape[2:])
        return self.model.inference(images, [{"img_shape": size, "ori_shape": size}] * len(images))

    def _losses(self, images, labels):
        losses = self.model.loss(images, _mmseg_samples(images.shape[2:], labels))
        return losses["decode_0.loss_ce"], losses["decode_1.pointloss_ce"]

    def _sample(self, logits, num_points):
        owner, name = self.train_points
        config = types.SimpleNamespace(num_points=num_points, oversample_ratio=3, importance_sample_ratio=0.75)
        uncertainty = sys.modules[type(owner).__module__].calculate_uncertainty
        return getattr(owner, name)(logits, uncertainty, cfg=config)


class Detectron2Reference(_Reference):
    """The authors' SemanticSegmentor.

    Args:
        folder: a checkout of detectron2. Its `projects/PointRend` is needed even where detectron2 is installed.
    """

    source = "detectron2"

    def __init__(self, folder):
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

    def predict_raw(self, image):
        """Logits [K, H, W] of a BGR image, uint8 [H, W, 3], with detectron2's own preprocessing."""
        import torch

        self.model.eval()
        with torch.no_grad():
            pixels = torch.from_numpy(image.astype("float32").transpose(2, 0, 1))
            return _array(self.model([{"image": pixels}])[0]["sem_seg"])

    def sgd(self, start):
        """The recipe's optimizer, at iteration `start`: a function (images, labels, coords) -> (losses, lr)."""
        from detectron2.solver import build_lr_scheduler, build_optimizer

        optimizer = build_optimizer(self.config, self.model)
        return _Trajectory(self, optimizer, [build_lr_scheduler(self.config, optimizer)], start)

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


class _Trajectory:
    """SGD steps of a reference from iteration `start` on, its schedulers wound forward."""

    def __init__(self, reference, optimizer, schedulers, start):
        self.reference, self.optimizer, self.schedulers = reference, optimizer, schedulers
        self.optimizer.zero_grad()
        for _ in range(start):
            self.optimizer.step()  # without gradients nothing moves; the schedulers want steps before them
            self._advance()

    def __call__(self, images, labels, point_coords):
        """((coarse loss, point loss), the learning rate of this step)."""
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.zero_grad()
        coarse, point = self.reference.losses(images, labels, point_coords)
        (coarse + point).backward()
        self.optimizer.step()
        self._advance()
        return (coarse.item(), point.item()), lr

    def _advance(self):
        for scheduler in self.schedulers:
            scheduler.step()


@contextlib.contextmanager
def _watched(owner, name):
    """A list of (arguments, result), one entry for each call of the function while the context is open."""
    function, calls = getattr(owner, name), []

    def watch(*args, **kwargs):
        result = function(*args, **kwargs)
        calls.append((args, result))
        return result

    with mock.patch.object(owner, name, watch):
        yield calls


def _maps(output):
    """The four maps of strides 4 to 32, from a tuple or from a dict by level."""
    maps = [output[name] for name in sorted(output)] if isinstance(output, dict) else list(output)
    return [_array(m) for m in maps[:4]]


def _array(tensor):
    return tensor.detach().numpy().copy()


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


def replace_compiled_operations():
    """To be called before mmseg is imported: mmcv-lite lacks the compiled module that mmcv.ops imports."""
    if importlib.util.find_spec("mmcv._ext") is None and not isinstance(sys.modules.get("mmcv.ops"), _Placeholder):
        import mmcv

        mmcv.ops = sys.modules["mmcv.ops"] = _point_operations()


def _point_operations():
    """A stand-in for mmcv.ops; anything of it but point_sample raises when it is called."""
    import torch.nn.functional as F

    def point_sample(features, points, align_corners=False, **kwargs):
        grid = 2 * points.unsqueeze(2) - 1
        return F.grid_sample(features, grid, align_corners=align_corners, **kwargs).squeeze(3)

    module = _Placeholder("mmcv.ops")
    module.point_sample = point_sample
    return module


def _mmseg_samples(size, labels):
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


def _detectron2_config(folder):
    project = folder / "projects" / "PointRend"
    if not (project / DETECTRON2_CONFIG).is_file():
        raise FileNotFoundError(f"{folder} is not a checkout of detectron2: it has no projects/PointRend")
    sys.meta_path.append(_PlaceholderFinder())
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


class _Placeholder(types.ModuleType):
    """A module that has every name; what it has can be a base class or a decorator, but not be used."""

    __path__ = ()
    __version__ = "0.20.0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__module__": self.__name__})


class _PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, so that an installed module is preferred."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in _REPLACEABLE or name == "detectron2._C":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Placeholder(spec.name)

    def exec_module(self, module):
        pass
