"""Data sets of instances for training: checked before the work, read batch by batch, the same batches every time."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend.data.coco import read_coco_image
from paddle_pointrend.data.instances import CocoInstances, grouped_batches, pad_images
from paddle_pointrend.errors import UsageError
from paddle_pointrend.models.instance.structures import Targets
from paddle_pointrend.paddleseg.configs import build, naming_part, path_of
from paddle_pointrend.run_state import derived_seed, obey_the_parent_alone

SAMPLES_CHECKED = 8


def build_instance_dataset(builder: SegBuilder, config: Config, part: str) -> CocoInstances:
    """Builds a config's train_dataset or val_dataset and checks it: its classes, its files, some of its images.

    Raises:
        UsageError: what does not fit, with the file's name.
    """
    dataset = _of_instances(build(builder, path_of(config), part), part)
    num_classes = config.dic["model"].get("num_classes")
    if num_classes != dataset.num_classes:
        raise UsageError(
            f"model.num_classes is {num_classes}, {dataset.coco.path} has {dataset.num_classes} categories "
            f"({', '.join(dataset.coco.class_names[:5])}{', ...' if dataset.num_classes > 5 else ''}); set it to that, "
            "there is no background among them"
        )
    images = dataset.coco.images
    missing = [image.path for image in images if not pathlib.Path(image.path).is_file()]
    if missing:
        raise UsageError(f"{part}: {len(missing)} of {len(images)} images do not exist, the first is {missing[0]}")
    for index in np.linspace(0, len(images) - 1, min(SAMPLES_CHECKED, len(images))).astype(int):
        read_coco_image(images[index])
    return dataset


def describe_images(builder: SegBuilder, config: Config) -> CocoInstances:
    """Builds a config's val_dataset for its sizes and channels alone: its files need not be there.

    Raises:
        UsageError: there is none in the config, or a wrong one.
    """
    with naming_part(path_of(config), "val_dataset"):
        return _of_instances(builder.build_component(config.val_dataset_cfg), "val_dataset")


def _of_instances(dataset, part):
    if not isinstance(dataset, CocoInstances):
        raise UsageError(f"{part}: its type is {type(dataset).__name__}, expected CocoInstances, which has instances")
    return dataset


class TrainingBatches(paddle.io.Dataset):
    """The batches of one process's training: batch i follows from the seed, its number and the process alone.

    So a training that is resumed at iteration i reads what the uninterrupted one reads, in whatever process.

    Args:
        dataset: the images to train on.
        batch_size: images of this process and iteration.
        iters: of the whole training.
        seed: of order and augmentation.
        start: iterations that are done.
        rank, num_processes: this process's number, and how many there are.

    Raises:
        UsageError: there is nothing to train on.
    """

    def __init__(
        self,
        dataset: CocoInstances,
        batch_size: int,
        iters: int,
        *,
        seed: int,
        start: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.images = dataset.training_images()
        if not self.images:
            raise UsageError(
                f"{dataset.annotations}: no image has an object, so there is nothing to train on; "
                "keep_empty: true trains on images without any"
            )
        wide = [image.width > image.height for image in self.images]
        batches = grouped_batches(wide, batch_size, seed, rank, num_processes)
        self._plan = list(itertools.islice(batches, start, iters))
        self.seed, self.rank, self._start = seed, rank, start

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads a batch as `read` does, or {"mistake": its index} where that fails.

        An exception in one of Paddle's reading processes would end them without a word.
        """
        try:
            return self.read(index)
        except UsageError:
            return {"mistake": np.array(index)}

    def read(self, index: int) -> dict[str, Any]:
        """Reads a batch: "images", "sizes" as of `pad_images`, and lists "boxes", "classes", "masks", one an image.

        Raises:
            UsageError: an image or an annotation is wrong.
        """
        rng = np.random.default_rng(derived_seed(self.seed, self.rank, self._start + index + 1))
        samples = [self.dataset.training_sample(self.images[i], rng) for i in self._plan[index]]
        images, sizes = pad_images([sample.image for sample in samples])
        batch = {"images": images, "sizes": sizes}
        return {**batch, **{key: [getattr(s, key) for s in samples] for key in ("boxes", "classes", "masks")}}


def read_batches(
    batches: TrainingBatches, num_workers: int
) -> Iterator[tuple[paddle.Tensor, np.ndarray, list[Targets]]]:
    """Yields (images [N, 3, H, W], sizes [N, 2], targets) of every batch, read by num_workers processes or by this one.

    Raises:
        UsageError: a file that cannot be read.
    """
    read: Any
    if num_workers == 0:
        read = (batches.read(index) for index in range(len(batches)))
    else:
        whole: Any = None  # a batch is read whole, not put together of samples
        read = paddle.io.DataLoader(
            batches,
            batch_size=whole,
            shuffle=False,
            num_workers=num_workers,
            return_list=True,
            worker_init_fn=lambda worker: obey_the_parent_alone(),
        )
    for batch in read:
        if "mistake" in batch:
            batches.read(int(batch["mistake"]))
        objects = zip(*([np.asarray(part) for part in batch[key]] for key in ("boxes", "classes", "masks")))
        yield paddle.to_tensor(batch["images"]), np.asarray(batch["sizes"]), [Targets(*parts) for parts in objects]
