"""Instances as a network takes them: resized, flipped, normalised, batched by shape.

detectron2's detection_utils.py and its ResizeShortestEdge are the reference.
Shapes: M objects of an image; H, W its size after resizing.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from PIL import Image

from paddle_pointrend.data.coco import CocoData, CocoImage, read_coco_image
from paddle_pointrend.data.images import check_pixels
from paddle_pointrend.data.masks import check_polygons, decode_mask
from paddle_pointrend.errors import UsageError

SMALLEST_SIDE = 1e-5  # of a box that is an object, in pixels


@dataclass(frozen=True)
class InstanceSample:
    """An image and its objects, ready for training.

    Attributes:
        image: float32 [3, H, W], normalised.
        boxes: float32 [M, 4], x1 y1 x2 y2 in pixels.
        classes: int64 [M].
        masks: bool [M, H, W].
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    masks: np.ndarray


class CocoInstances:
    """A data set of instances, as a config describes it: files, sizes, normalisation.

    Args:
        dataset_root: the folder that `annotations` and `images` count from.
        annotations: the JSON file in COCO's format.
        images: the folder of images.
        short_sides: the shortest edge in pixels; in training one of them by chance, else the last.
        longest_side: the most that the longest edge may be; where it would be longer, the image shrinks further.
        flip: whether training mirrors every second image.
        keep_empty: whether training sees images without objects too.
        mean, std: of each channel, on values from 0 to 255, in the order of `channels`.
        channels: "RGB" or "BGR", the order in which the network reads.

    Raises:
        UsageError: sizes or channels that cannot be.
    """

    def __init__(
        self,
        dataset_root: str | os.PathLike,
        annotations: str,
        images: str,
        *,
        short_sides: Sequence[int] = (800,),
        longest_side: int = 1333,
        flip: bool = False,
        keep_empty: bool = False,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        channels: str = "RGB",
    ) -> None:
        self.short_sides = _check_sizes("short_sides", short_sides)
        (self.longest_side,) = _check_sizes("longest_side", [longest_side])
        if channels not in ("RGB", "BGR"):
            raise UsageError(f"channels is {channels!r}, expected RGB or BGR")
        self.channels, self.flip, self.keep_empty = channels, bool(flip), bool(keep_empty)
        self.mean, self.std = _check_three("mean", mean), _check_three("std", std)
        if not (self.std > 0).all():
            raise UsageError(f"std is {list(std)}, expected numbers above 0")
        self.annotations, self.images = (os.path.join(dataset_root, name) for name in (annotations, images))

    @functools.cached_property
    def coco(self) -> CocoData:
        """The annotations, read when first needed: who only predicts has none. UsageError if they are wrong."""
        return CocoData(self.annotations, self.images)

    @property
    def num_classes(self) -> int:
        """The number of classes; there is no background among them."""
        return len(self.coco.class_names)

    def __len__(self) -> int:
        return len(self.coco.images)

    def training_images(self) -> list[CocoImage]:
        """Lists the images to train on: those with an object that is no crowd, or all with `keep_empty`."""
        return [image for image in self.coco.images if self.keep_empty or self._objects(image)]

    def training_sample(self, image: CocoImage, rng: np.random.Generator) -> InstanceSample:
        """Reads an image and its objects, resized and flipped by chance.

        Crowds are left out, and what has no side or no pixel after resizing.

        Raises:
            UsageError: an image or a mask that cannot be read.
        """
        pixels = read_coco_image(image)
        height, width = shortest_edge_size(
            image.height, image.width, int(rng.choice(self.short_sides)), self.longest_side
        )
        flips = self.flip and rng.random() < 0.5
        objects = self._objects(image)
        scale = np.array([width / image.width, height / image.height] * 2, np.float32)
        boxes = np.array([item["bbox"] for item in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = np.clip(boxes * scale, 0, np.array([width, height] * 2, np.float32))
        masks = np.zeros((len(objects), height, width), bool)
        for mask, item in zip(masks, objects):
            with self.coco.naming(item):
                mask[:] = _mask_at_size(item["segmentation"], image, height, width)
        pixels = resize_pixels(pixels, height, width)
        if flips:
            pixels, masks = pixels[:, ::-1], masks[:, :, ::-1]
            boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
        kept = (boxes[:, 2:] - boxes[:, :2] > SMALLEST_SIDE).all(1) & masks.any((1, 2))
        classes = [self.coco.category_ids.index(item["category_id"]) for item in objects]
        return InstanceSample(self.normalize(pixels), boxes[kept], np.array(classes, np.int64)[kept], masks[kept])

    def network_image(self, pixels: np.ndarray) -> np.ndarray:
        """Resizes and normalises an image to predict: uint8 [h, w, 3] in RGB to float32 [3, H, W].

        Raises:
            ValueError: as of `check_pixels`.
        """
        height, width = check_pixels(pixels).shape[:2]
        size = shortest_edge_size(height, width, self.short_sides[-1], self.longest_side)
        return self.normalize(resize_pixels(pixels, *size))

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """Normalises uint8 [H, W, 3] in RGB, its channels as the network reads them: float32 [3, H, W]."""
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        return np.ascontiguousarray(((pixels.astype(np.float32) - self.mean) / self.std).transpose(2, 0, 1))

    def _objects(self, image):
        return [item for item in image.objects if not item.get("iscrowd")]


def shortest_edge_size(height: int, width: int, short_side: int, longest_side: int) -> tuple[int, int]:
    """Returns (height, width) with the shortest edge at short_side, or the longest at longest_side if that is less.

    The reference: detectron2's ResizeShortestEdge, with its rounding; a side keeps at least one pixel.
    """
    scale = short_side / min(height, width)
    new_height, new_width = (short_side, scale * width) if height < width else (scale * height, short_side)
    if max(new_height, new_width) > longest_side:
        scale = longest_side / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resize_pixels(
    pixels: np.ndarray, height: int, width: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    """Resizes uint8 [h, w] or [h, w, 3] to (height, width), as Pillow does: shrinking averages."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), resample))


def pad_images(images: Sequence[np.ndarray], divisor: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Puts images [3, H_i, W_i] into one batch, each at the top left, zeros elsewhere.

    Returns:
        float32 [N, 3, H, W], multiples of the divisor, and int64 [N, 2], the images' own (height, width).
    """
    sizes = np.array([image.shape[1:] for image in images], np.int64)
    height, width = (-(-sizes.max(0) // divisor) * divisor).tolist()
    batch = np.zeros((len(images), 3, height, width), np.float32)
    for place, image in zip(batch, images):
        place[:, : image.shape[1], : image.shape[2]] = image
    return batch, sizes


def grouped_batches(
    wide: Sequence[bool], batch_size: int, seed: int, rank: int = 0, num_processes: int = 1
) -> Iterator[list[int]]:
    """Yields batches of indices without end: images shuffled, each epoch anew, wide ones apart from tall ones.

    So a batch is padded little. Every process walks the same order and takes its share of it. The same arguments give
    the same batches.

    Args:
        wide: of each image, whether it is wider than high.
        batch_size: images of a process and batch.
        seed: of the order.
        rank, num_processes: this process's number, and how many there are.
    """
    rng = np.random.default_rng(seed)
    waiting: dict[bool, list[int]] = {True: [], False: []}
    position = 0
    while True:
        for index in rng.permutation(len(wide)).tolist():
            position += 1
            if position % num_processes != rank:
                continue
            group = waiting[bool(wide[index])]
            group.append(index)
            if len(group) == batch_size:
                yield group[:]
                group.clear()


def _check_sizes(name, sizes):
    if not isinstance(sizes, (list, tuple)) or not sizes or not all(_is_size(size) for size in sizes):
        raise UsageError(f"{name} is {sizes!r}, expected whole numbers above 0, in pixels")
    return [int(size) for size in sizes]


def _is_size(size):
    return isinstance(size, Integral) and not isinstance(size, bool) and size > 0


def _check_three(name, values):
    if not isinstance(values, (list, tuple)) or len(values) != 3 or not all(isinstance(v, Real) for v in values):
        raise UsageError(f"{name} is {values!r}, expected three numbers, one a channel")
    return np.array(values, np.float32)


def _mask_at_size(segmentation, image, height, width):
    """Draws an object's mask, bool [height, width], of an image that was resized to that."""
    if isinstance(segmentation, list):
        scale = np.array([width / image.width, height / image.height])
        scaled = [(np.reshape(polygon, (-1, 2)) * scale).ravel().tolist() for polygon in check_polygons(segmentation)]
        return decode_mask(scaled, height, width)
    mask = decode_mask(segmentation, image.height, image.width).astype(np.uint8)
    return resize_pixels(mask, height, width, Image.Resampling.NEAREST).astype(bool)
