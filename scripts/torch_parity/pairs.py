"""A torch reference and our network of the same random weights."""

import os
import pathlib

import numpy as np

from paddle_pointrend.convert import rename_key
from torch_parity.detectron2_reference import Detectron2Reference
from torch_parity.mmseg_reference import MMSegReference
from torch_parity.random_weights import random_state
from torch_parity.reference import Reference
from torch_parity.stages import build, load_reference_state
from torch_parity.synthetic_data import random_coords, smooth_image, smooth_labels

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
# Our config's name -> the reference's.
OUR_MMSEG_CONFIGS = {
    "cityscapes/pointrend_semantic_fpn_resnet101_mmseg.yml": "r101_cityscapes",
    "cityscapes/pointrend_semantic_fpn_resnet50_mmseg.yml": "r50_cityscapes",
    "ade20k/pointrend_semantic_fpn_resnet101_mmseg.yml": "r101_ade20k",
    "ade20k/pointrend_semantic_fpn_resnet50_mmseg.yml": "r50_ade20k",
}
OUR_DETECTRON2_CONFIG = "cityscapes/pointrend_semantic_fpn_resnet101_detectron2.yml"


class Pair:
    """A reference and our network of the same weights.

    Args:
        reference: of torch_parity.
        config: the path of our YAML file.
        seed: of the random weights.
    """

    def __init__(self, reference: Reference, config: str | os.PathLike, seed: int = 0) -> None:
        self.reference, self.config, self.seed = reference, pathlib.Path(config), seed
        self.renew()

    def renew(self, **manner) -> None:
        """Builds our side anew, and gives both sides the random weights of a manner of random_state."""
        self.state = random_state(self.reference.shapes(), self.seed, **manner)
        self.builder = build(self.config)
        self.model = self.builder.model
        load_reference_state(self.model, self.state, self.reference.source)
        self.reference.load(self.state)

    @property
    def losses(self) -> list:
        """Lists the loss layers, in the order of the model's outputs."""
        losses = self.builder.loss
        if list(losses["coef"]) != [1, 1]:
            raise ValueError(f"{self.config}: the comparison wants coef: [1, 1], got {losses['coef']}")
        return losses["types"]

    def ours_named(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a reference's dict under our names; what we have no use for is left out."""
        renamed = {rename_key(name, self.reference.source): array for name, array in tensors.items()}
        renamed.pop(None, None)
        return renamed

    def batch(self, shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws images, labels and training points."""
        coords = random_coords(shape[0], self.reference.num_train_points, seed)
        labels = smooth_labels(shape, self.reference.num_classes, seed)
        return smooth_image(shape, seed), labels, coords


def build_pair(
    reference: str, config: str | os.PathLike | None = None, detectron2: str | os.PathLike | None = None
) -> Pair:
    """Builds the Pair of a reference, "mmseg" or "detectron2"; config is our YAML file, None for the ResNet-101 one."""
    if reference == "detectron2":
        return Pair(Detectron2Reference(detectron2), config or CONFIGS / OUR_DETECTRON2_CONFIG)
    config = pathlib.Path(config or CONFIGS / next(iter(OUR_MMSEG_CONFIGS)))
    name = "/".join(config.resolve().parts[-2:])
    if name not in OUR_MMSEG_CONFIGS:
        raise ValueError(f"{name}: mmsegmentation's config is known for {', '.join(OUR_MMSEG_CONFIGS)} only")
    return Pair(MMSegReference(OUR_MMSEG_CONFIGS[name]), config)
