"""Transforms of the references' recipes that PaddleSeg lacks, in the form of PaddleSeg's own.

A transform takes and returns a dict: "img" float32 [H, W, C] in RGB, values 0 to 255 until Normalize; "gt_fields", the
names of the label maps [H, W] that change with it; "trans_info", the sizes that predictions have to be brought back to.
Random numbers come from numpy.random, in the order in which mmsegmentation draws them.

Source: mmsegmentation's RandomResize (mmcv), RandomCrop and PhotoMetricDistortion; detectron2's
RandomCrop_CategoryAreaConstraint and PointRend's ColorAugSSDTransform; Liu et al., "SSD: Single Shot MultiBox Detector"
(ECCV 2016).
"""

from collections.abc import Sequence
from numbers import Integral, Real

import cv2
import numpy as np


class RandomResize:
    """Resizes so that the image just fits into `scale` times a random ratio; its aspect stays.

    Pixels are interpolated bilinearly as 8 bit, labels take the nearest. With ratio_range [1, 1] nothing is random:
    the resize of validation.

    Args:
        scale: two bounds in pixels; the larger is the long edge's, the smaller the short edge's.
        ratio_range: the least and the largest ratio.

    Raises:
        ValueError: bounds that are not whole numbers >= 1, ratios that are not 0 < least <= largest, an image whose
            values are not 0 to 255.
    """

    def __init__(self, scale: Sequence[int], ratio_range: Sequence[float] = (1.0, 1.0)) -> None:
        self.scale = _two_sizes("scale", scale)
        self.ratio_range = _range("ratio_range", ratio_range)
        if self.ratio_range[0] <= 0:
            raise ValueError(f"ratio_range must be above 0, got {ratio_range}; [1, 1] keeps to scale")

    def __call__(self, data: dict) -> dict:
        height, width = data["img"].shape[:2]
        data["trans_info"].append(("resize", (height, width)))
        size = self._draw_size(width, height)
        image = cv2.resize(_as_8_bit(data["img"], "RandomResize"), size, interpolation=cv2.INTER_LINEAR)
        data["img"] = image.astype(np.float32)
        for key in data.get("gt_fields", []):
            data[key] = cv2.resize(data[key], size, interpolation=cv2.INTER_NEAREST)
        return data

    def _draw_size(self, width, height):
        least, largest = self.ratio_range
        ratio = np.random.random_sample() * (largest - least) + least
        bounds = [int(bound * ratio) for bound in self.scale]
        factor = min(max(bounds) / max(width, height), min(bounds) / min(width, height))
        return tuple(max(1, int(side * factor + 0.5)) for side in (width, height))


class RandomCrop:
    """Crops a random window, if possible one in which no class takes too much.

    A side shorter than the window stays as it is. To have all images of one size put `Padding` after Normalize, where
    the value 0 is the mean colour: that is where mmsegmentation pads.

    Args:
        crop_size: width and height of the window.
        category_max_ratio: below 1, a window is drawn again, up to 10 times, until it shows two classes or more and
            each has less than this share of the pixels that are not ignored.
        ignore_index: the label that does not count.

    Raises:
        ValueError: sizes that are not whole numbers >= 1, a ratio outside (0, 1].
    """

    attempts = 10

    def __init__(self, crop_size: Sequence[int], category_max_ratio: float = 1.0, ignore_index: int = 255) -> None:
        self.crop_size = _two_sizes("crop_size", crop_size)
        if not isinstance(category_max_ratio, Real) or not 0 < category_max_ratio <= 1:
            raise ValueError(
                f"category_max_ratio must be above 0 and at most 1, got {category_max_ratio!r}; 1 takes any window"
            )
        self.category_max_ratio = category_max_ratio
        self.ignore_index = ignore_index

    def __call__(self, data: dict) -> dict:
        window = self._draw_window(data["img"])
        if self.category_max_ratio < 1:
            for _ in range(self.attempts):
                if self._is_mixed(data["label"][window]):
                    break
                window = self._draw_window(data["img"])
        for key in ("img", *data.get("gt_fields", [])):
            data[key] = data[key][window]
        return data

    def _draw_window(self, image):
        width, height = self.crop_size
        top = np.random.randint(max(image.shape[0] - height, 0) + 1)
        left = np.random.randint(max(image.shape[1] - width, 0) + 1)
        return slice(top, top + height), slice(left, left + width)

    def _is_mixed(self, label):
        classes, counts = np.unique(label, return_counts=True)
        counts = counts[classes != self.ignore_index]
        return len(counts) > 1 and counts.max() / counts.sum() < self.category_max_ratio


class PhotoMetricDistortion:
    """The colour distortion of SSD: each of its steps is taken in one of two images.

    Brightness comes first; contrast before or after saturation and hue, as chance has it. Every step rounds down to
    8 bit, as in the references.

    Args:
        brightness_delta: the most that is added to all values, or taken away.
        contrast_range, saturation_range: least and largest factor.
        hue_delta: the most that the hue turns, in steps of 2 degrees, of which 180 are the circle.

    Raises:
        ValueError: a negative brightness_delta, ranges that are not 0 <= least <= largest, a hue_delta that is not a
            whole number from 0 to 180, an image without 3 channels or whose values are not 0 to 255.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        if not isinstance(brightness_delta, Real) or brightness_delta < 0:
            raise ValueError(f"brightness_delta must be a number >= 0, got {brightness_delta!r}; 0 turns it off")
        if not isinstance(hue_delta, Integral) or not 0 <= hue_delta <= 180:
            raise ValueError(f"hue_delta must be a whole number from 0 to 180, got {hue_delta!r}; 0 turns it off")
        self.brightness_delta = brightness_delta
        self.contrast_range = _range("contrast_range", contrast_range)
        self.saturation_range = _range("saturation_range", saturation_range)
        self.hue_delta = hue_delta

    def __call__(self, data: dict) -> dict:
        if data["img"].ndim != 3 or data["img"].shape[2] != 3:
            raise ValueError(
                f"PhotoMetricDistortion takes images [H, W, 3] in RGB, got {list(data['img'].shape)}; "
                "leave it out for images of other channels"
            )
        image = self._brightness(_as_8_bit(data["img"], "PhotoMetricDistortion"))
        contrast_first = np.random.randint(2)
        if contrast_first:
            image = self._contrast(image)
        image = self._hue(self._saturation(image))
        if not contrast_first:
            image = self._contrast(image)
        data["img"] = image.astype(np.float32)
        return data

    def _brightness(self, image):
        if np.random.randint(2):
            image = _scaled(image, shift=np.random.uniform(-self.brightness_delta, self.brightness_delta))
        return image

    def _contrast(self, image):
        if np.random.randint(2):
            image = _scaled(image, factor=np.random.uniform(*self.contrast_range))
        return image

    def _saturation(self, image):
        if np.random.randint(2):
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 1] = _scaled(hsv[..., 1], factor=np.random.uniform(*self.saturation_range))
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        return image

    def _hue(self, image):
        if np.random.randint(2):
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            # The upper end is left out, as by mmsegmentation.
            turn = np.random.randint(-self.hue_delta, max(self.hue_delta, 1))
            hsv[..., 0] = (hsv[..., 0].astype(int) + turn) % 180
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        return image


class RGBToBGR:
    """Reverses the channels of an image [H, W, C]. detectron2's networks read BGR."""

    def __call__(self, data: dict) -> dict:
        data["img"] = np.ascontiguousarray(data["img"][..., ::-1])
        return data


def _scaled(image, factor=1.0, shift=0.0):
    return np.clip(image.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)


def _as_8_bit(image, name):
    if image.dtype == np.uint8:
        return image
    least, largest = image.min(), image.max()
    if not 0 <= least <= largest <= 255:
        raise ValueError(
            f"{name} takes images of values from 0 to 255, got {least:.4g} to {largest:.4g}; put it before Normalize"
        )
    return np.rint(image).astype(np.uint8)


def _two_sizes(name, value):
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 2
        or any(not isinstance(size, Integral) or size < 1 for size in value)
    ):
        raise ValueError(f"{name} must be two whole numbers >= 1, [width, height] in pixels, got {value!r}")
    return tuple(value)


def _range(name, value):
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 2
        or any(not isinstance(end, Real) for end in value)
        or not 0 <= value[0] <= value[1]
    ):
        raise ValueError(f"{name} must be two numbers, 0 <= least <= largest, got {value!r}")
    return tuple(value)
