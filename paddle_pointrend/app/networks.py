"""What the page runs: a PointRendSeg, whose steps can be looked at, or any network behind Predictor."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import paddle

from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.deploy.deploy_file import DeployFile, is_exported
from paddle_pointrend.deploy.description import describe_data
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.figures import SubdivisionStep
from paddle_pointrend.inference import label_maps, undo_transforms
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.paddleseg import load_model
from paddle_pointrend.paddleseg.configs import load_config
from paddle_pointrend.paddleseg.evaluation import shown_steps
from paddle_pointrend.paddleseg.preprocessing import Preprocessing, val_preprocessing


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Labels of one image, integers [H, W].

    coarse is None, and steps is empty, of a network that does not tell them. seconds: from pixels to labels.
    """

    refined: np.ndarray
    coarse: np.ndarray | None
    steps: list[SubdivisionStep]
    seconds: float


class Network(Protocol):
    """Predicts an image, RGB uint8 [H, W, 3], with at most num_points points a step and perhaps a margin.

    default_points and default_threshold are its own settings. default_points is None where it has no such steps; where
    they differ in number it is the largest, and stands for all of them.
    """

    class_names: list[str]
    palette: np.ndarray
    default_points: int | None
    default_threshold: float | None

    def predict(self, image: np.ndarray, num_points: int, threshold: float | None) -> Prediction: ...


def load_network(
    model_path: str | os.PathLike, config: str | os.PathLike | None = None, opts: Sequence[str] = ()
) -> Network:
    """Loads what the page runs.

    Args:
        model_path: a folder that `paddle-pointrend export` wrote, or weights as of `load_model`.
        config: the weights' YAML file; an exported folder has none.
        opts: changes of the YAML file, "KEY=VALUE" strings.

    Raises:
        UsageError, CheckpointError, RuntimeLoadError: as of `load_model` and `Predictor`; weights without a config, an
            exported folder with one or of a network whose images are not RGB.
    """
    if is_exported(model_path):
        if config is not None or opts:
            raise UsageError(
                f"--model_path {model_path} is an exported folder, which --config and --opts do not change: leave them "
                "out, or give the weights that it was exported from"
            )
        deploy = DeployFile.read(model_path)
        if len(deploy.mean) != 3:
            raise UsageError(
                f"--model_path {model_path}: the page takes RGB photographs, but the network's images have channels: "
                f"{len(deploy.mean)}; for one of grey images give --config and the weights that it was exported from"
            )
        return PredictorNetwork(Predictor(model_path), deploy.classes or _numbered(deploy.num_classes))
    if config is None:
        raise UsageError(f"--model_path {model_path} is no exported folder: --config has to name the weights' config")
    loaded = load_config(config, opts)
    data, num_classes = describe_data(loaded.dic), (loaded.dic.get("model") or {}).get("num_classes")
    names = loaded.dic.get("class_names") or data.get("classes")
    model = load_model(loaded, model_path)
    if not isinstance(model, PointRendSeg):
        if num_classes is None:
            raise UsageError(f"--config {config}: model has no num_classes")
        return PredictorNetwork(Predictor.from_config(loaded, model_path), names or _numbered(num_classes))
    num_classes = model.point_head.num_classes
    palette = data.get("palette", default_palette(num_classes))
    return TracedNetwork(model, val_preprocessing(loaded), names or _numbered(num_classes), palette)


class PredictorNetwork:
    """An exported network, or one that is no PointRendSeg: only its labels are seen."""

    default_points: int | None = None
    default_threshold: float | None = None

    def __init__(self, predictor: Predictor, class_names: Sequence[str]):
        self._predictor = predictor
        self.class_names = list(class_names)
        self.palette = predictor.palette[: len(self.class_names)]

    def predict(self, image: np.ndarray, num_points: int, threshold: float | None) -> Prediction:
        """Predicts an image; the number of points and the threshold are the network's own."""
        start = time.perf_counter()
        labels = self._predictor.predict(_with_channels(image, self._predictor.image_channels))
        return Prediction(np.asarray(labels), None, [], time.perf_counter() - start)


class TracedNetwork:
    """A PointRendSeg in eager Paddle. One prediction at a time: its settings are attributes of the model."""

    def __init__(
        self,
        model: PointRendSeg,
        preprocess: Preprocessing,
        class_names: Sequence[str],
        palette: Sequence[Sequence[int]] | np.ndarray,
    ):
        self._model = model
        self._preprocess = preprocess
        self.class_names = list(class_names)
        self.palette = np.asarray(palette, np.uint8)
        self._own_points = model.num_subdivision_points
        self.default_points = max(self._own_points, default=None)
        self.default_threshold = model.refine_threshold

    @paddle.no_grad()
    def predict(self, image: np.ndarray, num_points: int, threshold: float | None) -> Prediction:
        """Predicts an image, both maps and the points of every step."""
        model, start = self._model, time.perf_counter()
        model.refine_threshold = threshold
        is_own = num_points == self.default_points
        model.num_subdivision_points = self._own_points if is_own else [num_points] * len(self._own_points)
        x, trans_info = self._preprocess(_with_channels(image, self._preprocess.image_channels))
        size = x.shape[:2]
        trace = model.trace(paddle.to_tensor(np.ascontiguousarray(x.transpose(2, 0, 1))[None]))
        coarse, refined = (
            label_maps(undo_transforms(logits.numpy(), trans_info, size))[0] for logits in (trace.coarse, trace.refined)
        )
        seconds = time.perf_counter() - start
        return Prediction(refined, coarse, shown_steps(trace, trans_info, model.size_divisor), seconds)


def _with_channels(image, channels):
    return image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _numbered(num_classes):
    return [f"class {i}" for i in range(num_classes)]
