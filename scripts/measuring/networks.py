"""The trained networks that scripts measure."""

from __future__ import annotations

from collections.abc import Sequence

from paddleseg.cvlibs import SegBuilder
from paddleseg.datasets import Dataset

from paddle_pointrend import PointRendSeg
from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg import build, load_config, load_model


def load_pointrend(path: str, weights: str, opts: Sequence[str] | None = None) -> tuple[PointRendSeg, Dataset]:
    """Loads a config's model with its weights, in eval mode, and builds its val_dataset.

    Raises:
        UsageError: what the config asks for does not exist or does not fit, or its model is not a PointRendSeg.
        CheckpointError: weights that cannot be read or are not the model's.
    """
    config = load_config(path, opts=opts)
    model = load_model(config, weights)
    if not isinstance(model, PointRendSeg):
        raise UsageError(f"{path}: the model is a {type(model).__name__}, expected a PointRendSeg")
    return model, build(SegBuilder(config), path, "val_dataset")
