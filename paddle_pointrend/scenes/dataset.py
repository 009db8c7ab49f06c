"""Built-in data: street scenes drawn by our own code, in the Cityscapes folder layout and its 19 classes.

A scene is a vector description (street.py and what it imports). Image and label are both rasterised from
it at the size asked for: the label is exact at any size, the image has a camera's mixed pixels and noise.
"""

import json
import os
from collections.abc import Callable
from numbers import Integral
from pathlib import Path

import cv2
import numpy as np

from paddle_pointrend.data.instance_maps import coco_of_maps
from paddle_pointrend.files import write_json, write_whole
from paddle_pointrend.scenes.canvas import CATEGORIES, rasterise
from paddle_pointrend.scenes.street import compose

DRAWING_VERSION = 1  # raise it when the same seed draws another picture: old folders are then not mixed with new ones
MIN_SIDE = 32
SPLITS = ("train", "val")


def _check_whole(name, value, least):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{name} is {value!r}, expected a whole number >= {least}. Fix: pass {name} as an int >= {least}."
        )
    return int(value)


def draw_scene(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one street scene.

    The same seed gives the same bytes, whatever was drawn before. At another size with the same height :
    width it gives the same scene, finer or coarser; what is thinner than a third of a pixel is drawn so wide.

    Args:
        seed: whole number >= 0.
        height, width: size in pixels, >= 32.

    Returns:
        image uint8 [H, W, 3], RGB; label uint8 [H, W], train ids 0-18, 255 = ignore.

    Raises:
        ValueError: an argument is not a whole number or too small.
    """
    return draw_instances(seed, height, width)[:2]


def draw_instances(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws a scene as `draw_scene` does, and its instances.

    Returns:
        image and label of `draw_scene`; instance ids uint16 [H, W], as of `instance_maps`, 0 where nothing of
        CATEGORIES is.
    """
    seed = _check_whole("seed", seed, 0)
    height, width = _check_whole("height", height, MIN_SIDE), _check_whole("width", width, MIN_SIDE)
    layout, texture, sensor = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    light, label, instances = rasterise(compose(layout, width / height), height, width, texture)
    return photograph(light, sensor), label, instances


def photograph(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Makes of an ideal picture what a camera does: vignette, white balance, contrast, lens blur, sensor noise.

    Args:
        light: float32 [H, W, 3], RGB, about 0-255.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = light.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    vignette = 1 - rng.uniform(0, 0.14) * (y[:, None] ** 2 + x**2)
    balance = rng.normal(1, 0.035, 3).astype(np.float32) * np.float32(rng.uniform(0.98, 1.32))
    contrast = np.float32(rng.uniform(0.88, 1.15))
    image = (light - 118) * contrast + 118
    image = image * vignette[..., None] * balance
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 0.75))
    image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(1.5, 5.0))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def scene_seed(seed: int, split: str, index: int) -> int:
    """Makes the seed of scene `index` (below 2**32) of a data set: no two scenes of "train" and "val" share one."""
    return (seed << 33) | (SPLITS.index(split) << 32) | index


def _png(image):
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image.shape} and type {image.dtype} as PNG.")
    return data.tobytes()


def _claim(root, parameters):
    """Notes the parameters in root/scenes.json, or checks that the folder was begun with the same ones."""
    note = root / "scenes.json"
    if note.exists():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found != parameters:
            raise ValueError(
                f"{root} already holds scenes made with {found}, asked for {parameters}. "
                "Fix: choose another folder, pass the same parameters, or delete this folder first."
            )
        return
    if (root / "leftImg8bit").exists() or (root / "gtFine").exists():
        raise ValueError(
            f"{root} already holds a data set without scenes.json, expected an empty or a scenes folder. "
            "Fix: choose another folder for the built-in scenes."
        )
    root.mkdir(parents=True, exist_ok=True)
    write_json(note, parameters)


def write_dataset(
    root: str | os.PathLike,
    num_train: int,
    num_val: int,
    height: int = 256,
    width: int = 512,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> str | os.PathLike:
    """Writes scenes that `paddleseg.datasets.Cityscapes` and `Dataset` (with train.txt, val.txt) read.

    Their instances are in *_instanceIds.png as Cityscapes' are, and, in COCO's format for `CocoInstances`, in
    annotations/instances_train.json and instances_val.json.

    Scenes that are already there are kept, so an interrupted call can be repeated.

    Args:
        root: folder, made if need be.
        num_train, num_val: number of scenes, >= 0.
        height, width: size in pixels, >= 32.
        seed: whole number >= 0.
        progress: called as progress(done, total) after every scene.

    Returns:
        root, as it was given.

    Raises:
        ValueError: a bad argument; or `root` holds scenes made with other parameters, or another data set.
    """
    counts = {"train": _check_whole("num_train", num_train, 0), "val": _check_whole("num_val", num_val, 0)}
    height, width = _check_whole("height", height, MIN_SIDE), _check_whole("width", width, MIN_SIDE)
    seed, folder = _check_whole("seed", seed, 0), Path(root)
    parameters = {"drawing_version": DRAWING_VERSION, "num_train": counts["train"], "num_val": counts["val"]}
    _claim(folder, parameters | {"height": height, "width": width, "seed": seed})
    done, total = 0, sum(counts.values())
    for split in SPLITS:
        lines, maps = [], []
        for index in range(counts[split]):
            stem = f"{split}/scenes/scenes_000000_{index:06d}"
            names = f"leftImg8bit/{stem}_leftImg8bit.png", f"gtFine/{stem}_gtFine_labelTrainIds.png"
            map_path = folder / f"gtFine/{stem}_gtFine_instanceIds.png"
            image_path, label_path = (folder / name for name in names)
            maps.append((names[0], map_path))
            if not (image_path.exists() and label_path.exists() and map_path.exists()):
                image, label, instances = draw_instances(scene_seed(seed, split, index), height, width)
                for path, data in ((map_path, instances), (label_path, label), (image_path, image[..., ::-1])):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(path, _png(data))
            lines.append(" ".join(names) + "\n")
            done += 1
            if progress is not None:
                progress(done, total)
        write_whole(folder / f"{split}.txt", "".join(lines).encode())
        (folder / "annotations").mkdir(exist_ok=True)
        annotations = json.dumps(coco_of_maps(maps, CATEGORIES))
        write_whole(folder / f"annotations/instances_{split}.json", annotations.encode())
    return root
