"""From pixels to labels and logits: preprocessing, the network under InferenceOptions, back to the image's size.

Images are uint8 [H, W, 3] in RGB, or [H, W] in grey where the preprocessing takes one channel; N: images of one size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from paddle_pointrend.data.images import check_pixels
from paddle_pointrend.deploy.preprocessing import Preprocess, Preprocessing
from paddle_pointrend.deploy.runtimes import Runtime
from paddle_pointrend.inference.logits import (
    check_class_count,
    label_maps,
    predict_logits,
    resize_maps,
    undo_transforms,
)
from paddle_pointrend.inference.options import InferenceOptions
from paddle_pointrend.inference.sliding_window import slide

DEFAULT_WINDOW = (1024, 1024)  # of images that are read in parts


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """What happens to an image before and after a network.

    Attributes:
        preprocess: an image into the network's input.
        options: augmentation and window.
        makes_labels: whether the network makes labels, which cannot be averaged, instead of logits.
    """

    preprocess: Preprocess
    options: InferenceOptions
    makes_labels: bool = False

    def labels(
        self, runtime: Runtime, images: np.ndarray | Sequence[np.ndarray], batch_size: int
    ) -> np.ndarray | list[np.ndarray]:
        """Predicts labels uint8 [H, W] of an image or of each in a list."""
        return self._by_size(images, batch_size, lambda batch: self._labels(runtime, batch, batch_size))

    def logits(
        self, runtime: Runtime, images: np.ndarray | Sequence[np.ndarray], batch_size: int
    ) -> np.ndarray | list[np.ndarray]:
        """Predicts logits float32 [K, H, W] of an image or of each in a list."""
        return self._by_size(images, batch_size, lambda batch: self._logits(runtime, batch, batch_size))

    def labels_by_rows(
        self,
        runtime: Runtime,
        read_rows: Callable[[int, int], np.ndarray],
        size: tuple[int, int],
        batch_size: int = 1,
    ) -> Iterator[np.ndarray]:
        """Yields the labels of an image's next rows, uint8 [any number, W], from top to bottom, in a sliding window.

        Args:
            runtime: the network.
            read_rows: (y1, y2) -> the image's rows y1 to y2, each asked for once and in order.
            size: (height, width) of the image.
            batch_size: windows that go through the network together.
        """
        options = self.options if self.options.window else InferenceOptions(window=DEFAULT_WINDOW)

        def run(pixels):
            return _run(runtime, self.preprocess.normalize(pixels))

        for _, x, logits in slide(run, read_rows, size, *options.layout(), batch_size=batch_size):
            if x == 0:
                rows = np.empty((logits.shape[1], size[1]), np.uint8)
            end = x + logits.shape[2]
            rows[:, x:end] = label_maps(logits[None])[0]
            if end == size[1]:
                yield rows

    def check_in_parts(self) -> None:
        """Raises ValueError where `labels_by_rows` cannot be done."""
        self._check_averages()
        if isinstance(self.preprocess, Preprocessing) and self.preprocess.resizes:
            raise ValueError(
                "this network's val transforms resize the image, which needs the whole of it; "
                "export it with a config whose val transforms only normalise"
            )
        if not self._only_normalizes:
            raise ValueError("an image that is read in parts is only normalised; this network's val transforms do more")
        if self.options.augments:
            raise ValueError("an image that is read in parts is not augmented, which needs the whole of it")

    @property
    def _only_normalizes(self):
        return isinstance(self.preprocess, Preprocessing) and not self.preprocess.resizes

    def _labels(self, runtime, images, batch_size):
        """uint8 [N, H, W] of images [N, H, W, 3]."""
        size = images.shape[1:3]
        if self._only_normalizes and self.options.slides_over(*size) and not self.options.augments:
            self._check_averages()
            parts = [list(self.labels_by_rows(runtime, _row_reader(image), size, batch_size)) for image in images]
            return np.stack([np.concatenate(rows) for rows in parts])
        if self.makes_labels:
            return self._labels_of_network(runtime, images)
        if hasattr(runtime, "labels") and self._only_normalizes and not self.options.augments:
            return runtime.labels(_channels_first(self.preprocess.normalize(images)))
        return label_maps(self._logits(runtime, images, batch_size))

    def _labels_of_network(self, runtime, images):
        x, trans_info = self._inputs(images)
        if self.options.slides_over(*x.shape[1:3]):
            self._check_averages()
        labels = runtime(_channels_first(x))[:, None]
        return undo_transforms(labels, trans_info, x.shape[1:3], "nearest")[:, 0].astype(np.uint8)

    def _logits(self, runtime, images, batch_size):
        """float32 [N, K, H, W] of images [N, H, W, 3], whatever size the network takes and makes."""
        x, trans_info = self._inputs(images)
        logits = predict_logits(lambda x: _run(runtime, x), x, self.options, batch_size=batch_size)
        return resize_maps(undo_transforms(logits, trans_info, x.shape[1:3]), images.shape[1:3])

    def _inputs(self, images):
        """The network's input float32 [N, h, w, C] of images [N, H, W, 3], and its trans_info."""
        if self._only_normalizes:
            return self.preprocess.normalize(images), []
        inputs = [self.preprocess(image) for image in images]
        return _stack([x for x, _ in inputs]), inputs[0][1]

    def _check_averages(self):
        if self.makes_labels:
            raise ValueError("labels cannot be averaged where windows overlap: export with --output logits")

    def _by_size(self, images, batch_size, predict):
        """Runs predict on batches of images of one size; results in the order of the images."""
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        channels = self.preprocess.image_channels
        many = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
        if not many:
            return self._by_size([images], batch_size, predict)[0]
        if not isinstance(self.preprocess, Preprocessing):
            batch_size = 1  # other transforms may bring images of one size to several
        places = {}
        for i, image in enumerate(images):
            places.setdefault(check_pixels(image, channels).shape, []).append(i)
        results = [None] * len(images)
        for same in places.values():
            for start in range(0, len(same), batch_size):
                batch = same[start : start + batch_size]
                for i, result in zip(batch, predict(_stack([images[i] for i in batch]))):
                    results[i] = result
        return results


def _run(runtime, x):
    """The network's output of inputs float32 [N, h, w, C]."""
    output = runtime(_channels_first(x))
    if output.ndim == 4:
        check_class_count(output.shape[1])
    return output


def _channels_first(x):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _stack(arrays):
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _row_reader(image):
    return lambda y1, y2: image[y1:y2]
