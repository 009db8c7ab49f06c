"""The fully connected CRF behind DeepLab: labels that agree with those of near pixels, most of all of like colour.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials" (NIPS 2011);
Chen et al. 2015 (DeepLab v1), section 3.2. This is the "crf" extra: pip install -c constraints.txt -e ".[crf]".
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from paddle_pointrend.option_checks import check_counts

LEAST_DEVIATION = 0.1  # pydensecrf divides by it, and ends the process where the quotient is too large


@dataclasses.dataclass(frozen=True)
class DenseCRF:
    """A fully connected CRF, a Potts model with two Gaussian kernels, solved by mean field steps.

    The defaults are DeepLab v1's: its smoothness kernel, and the lower end of the ranges that it searches for the
    appearance kernel. `scripts/crf_comparison.py` searches too.

    Attributes:
        smoothness_weight: w2, of the kernel over positions alone.
        smoothness_pixels: sigma_gamma, its deviation.
        appearance_weight: w1, of the kernel over positions and colours.
        appearance_pixels, appearance_colors: sigma_alpha and sigma_beta, its deviations in pixels and in steps of 255.
        steps: of mean field inference.

    Raises:
        ValueError: a negative or infinite weight, a deviation under a tenth of a pixel or colour step, no steps.
    """

    smoothness_weight: float = 3.0
    smoothness_pixels: float = 3.0
    appearance_weight: float = 5.0
    appearance_pixels: float = 50.0
    appearance_colors: float = 3.0
    steps: int = 10

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)
        weights = dict.fromkeys(("smoothness_weight", "appearance_weight"), 0)
        deviations = dict.fromkeys(("smoothness_pixels", "appearance_pixels", "appearance_colors"), LEAST_DEVIATION)
        for name, least in {**weights, **deviations}.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of at least {least}, got {getattr(self, name)!r}")

    def refine(self, logits: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Refines a network's prediction of one image.

        Args:
            logits: [K, H, W] at the image's size.
            image: uint8 [H, W, 3], RGB.

        Returns:
            Probabilities float32 [K, H, W], which sum up to 1 over the classes.

        Raises:
            ValueError: shapes that differ, an image of another type, logits that are not finite.
            ImportError: pydensecrf is not installed.
        """
        if image.dtype != np.uint8 or image.shape != (*logits.shape[1:], 3):
            raise ValueError(
                f"the image must be uint8 [H, W, 3] of the logits' {list(logits.shape)} height and width, "
                f"got {image.dtype} {list(image.shape)}"
            )
        if not np.isfinite(logits).all():
            raise ValueError("the logits hold NaN or infinity; look at the weights that gave them")
        try:
            from pydensecrf.densecrf import DenseCRF2D
        except ImportError as error:
            raise ImportError('pydensecrf is not installed: pip install -c constraints.txt -e ".[crf]"') from error
        num_classes, height, width = logits.shape
        field = DenseCRF2D(width, height, num_classes)
        field.setUnaryEnergy(np.ascontiguousarray(-_log_softmax(logits).reshape(num_classes, -1), np.float32))
        field.addPairwiseGaussian(sxy=self.smoothness_pixels, compat=self.smoothness_weight)
        field.addPairwiseBilateral(
            sxy=self.appearance_pixels,
            srgb=self.appearance_colors,
            rgbim=np.ascontiguousarray(image),
            compat=self.appearance_weight,
        )
        return np.array(field.inference(self.steps), np.float32).reshape(logits.shape)


def _log_softmax(logits):
    shifted = logits - logits.max(axis=0)
    return shifted - np.log(np.exp(shifted).sum(axis=0))
