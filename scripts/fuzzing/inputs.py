"""The small data set, network and files that scripts/fuzz_inputs.py damages, and the commands that read them."""

from __future__ import annotations

import pathlib
import pickle
import random
import shutil
from collections.abc import Callable
from importlib.util import find_spec

import cv2
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from fuzzing.annotated import FORMS, damage_annotated, write_annotated
from fuzzing.mutations import WORDS, hostile_pickle, hostile_yaml, mutate_bytes, mutate_text, mutate_zip
from paddle_pointrend import scenes
from paddle_pointrend.cli import main as command
from paddle_pointrend.models.paddle_files import load_paddle_file
from paddle_pointrend.paddleseg.config_files import configs_folder

CONFIG = """\
_base_: {base}/pointrend_semantic_fpn_efficientnet_lite0.yml
batch_size: 1
iters: 1
train_dataset: {{dataset_root: data, transforms: [{{type: RandomHorizontalFlip}}, {{type: Normalize}}]}}
val_dataset:
  dataset_root: data
  transforms:
    - type: Normalize
model:
  type: PointRendSeg
  num_train_points: 64
  num_subdivision_points: 64
  point_head: {{hidden_channels: 16}}
  segmentor:
    backbone: {{_inherited_: false, type: MobileNetV3_small_x0_35}}
    fpn_channels: 16
    head_channels: 16
"""
WEIGHTS = "out/iter_1/model.pdparams"
IMAGE_SUFFIXES = (".png", ".jpg", ".bmp", ".webp", ".tif", ".gif", ".jp2")


class Inputs:
    """Whole inputs in folder/whole; `cases` has, by kind, functions that damage a copy of them and return a command.

    Args:
        folder: to write into.
        formats: of exported folders to make, "paddle" and "onnx".
    """

    def __init__(self, folder: pathlib.Path, formats: tuple[str, ...]):
        self.whole, self.canary, self.formats = folder / "whole", folder / "canary", formats
        self.cases: dict[str, Callable[[pathlib.Path, random.Random], list[str]]] = {
            "image": self._image,
            "label": self._label,
            "list": self._list,
            "config": self._config,
            "pdparams": self._pdparams,
            "safetensors": self._safetensors,
            "pickle": self._pickle,
            **({"torch zip": self._torch_zip} if find_spec("torch") else {}),
            **{f"prepare {form}": lambda f, c, form=form: damage_annotated(f, form, c) for form in FORMS},
            "flags": self._flags,
            **{f"exported {name}": lambda f, c, name=name: self._exported(f, c, name) for name in formats},
        }

    def write(self) -> None:
        """Writes the whole inputs: data, config, weights of a training, the exports."""
        scenes.write_dataset(self.whole / "data", 2, 2, height=64, width=64)
        (self.whole / "config.yml").write_text(CONFIG.format(base=configs_folder() / "scenes"))
        _check(command(_train("out")))
        arrays = load_paddle_file(WEIGHTS, return_numpy=True)
        save_file(arrays, "model.safetensors")
        pathlib.Path("model.pkl").write_bytes(pickle.dumps({"model": arrays}, 2))
        if "torch zip" in self.cases:
            import torch

            state = {name: torch.from_numpy(array) for name, array in arrays.items()}
            torch.save({"state_dict": state, "meta": {"epoch": 1}}, "model.pth")
        write_annotated(self.whole)
        for name in self.formats:
            _check(command(_export(name, name)))

    def make(self, kind: str, folder: pathlib.Path, chance: random.Random) -> list[str]:
        """Copies the whole inputs to `folder`, damages what `kind` says and returns the command's arguments."""
        shutil.copytree(self.whole, folder)
        return self.cases[kind](folder, chance)

    def _image(self, folder, chance):
        files = [file for file in sorted(folder.glob("data/**/*.png")) if "leftImg" in file.name]
        pixels = cv2.imread(str(chance.choice(files)))
        for file in files:
            file.write_bytes(mutate_bytes(_encode(pixels, chance), chance))
        suffix = chance.choice(IMAGE_SUFFIXES)
        shutil.copy(files[0], folder / f"image{suffix}")
        image = ["--image_path", chance.choice([f"image{suffix}", str(files[0].parent.relative_to(folder))])]
        return chance.choice([_predict(image), _predict(image), _val(), [*_train(), "--check_data"]])

    def _label(self, folder, chance):
        for file in folder.glob("data/**/*labelTrainIds.png"):
            if chance.random() < 0.5:
                file.write_bytes(mutate_bytes(file.read_bytes(), chance))
            else:
                shape = chance.choice([(64, 64), (64, 64, 3), (64, 64, 4), (32, 64), (1, 1)])
                values = np.random.default_rng(chance.randrange(2**32)).integers(0, chance.choice([5, 256]), shape)
                Image.fromarray(values.astype("uint8")).save(file)
        return chance.choice([_val(), _train(), [*_train(), "--check_data"]])

    def _list(self, folder, chance):
        lines = "".join(f"{file.relative_to(folder)} nowhere.png\n" for file in sorted(folder.glob("data/**/*.png")))
        (folder / "list.txt").write_bytes(mutate_text(lines, chance, chance.choice(WORDS)))
        dataset = ["type=Dataset", "dataset_root=.", "num_classes=19", "train_path=list.txt", "val_path=list.txt"]
        opts = ["--opts", *(f"{part}_dataset.{value}" for part in ("train", "val") for value in dataset)]
        return chance.choice([_predict(["--image_path", "list.txt"]), [*_val(), *opts], [*_train(), *opts]])

    def _config(self, folder, chance):
        file = folder / "config.yml"
        file.write_bytes(mutate_text(file.read_text(), chance, hostile_yaml(self.canary)))
        return chance.choice([_val(), _train(), _predict(), _export("paddle", "new")])

    def _pdparams(self, folder, chance):
        file = folder / "out/iter_1" / chance.choice(["model.pdparams", "model.pdparams", "model.pdopt"])
        self._damage_pickle(file, chance)
        resume = [*_train("out"), "--iters", "2", "--resume_model", "auto"]
        if file.suffix == ".pdopt":
            return resume
        pretrained = [*_train(), "--opts", f"model.pretrained={file.relative_to(folder)}"]
        return chance.choice([_val(), _predict(), resume, pretrained])

    def _safetensors(self, folder, chance):
        file = folder / "model.safetensors"
        file.write_bytes(mutate_bytes(file.read_bytes(), chance))
        convert = ["convert", file.name, "new.pdparams", "--from", "mmseg", "--config", "config.yml"]
        return chance.choice([_val(file.name), [*_train(), "--opts", f"model.pretrained={file.name}"], convert])

    def _pickle(self, folder, chance):
        file = folder / "model.pkl"
        self._damage_pickle(file, chance)
        return _convert(file.rename(file.with_suffix(chance.choice([".pkl", ".pt"]))).name, chance)

    def _torch_zip(self, folder, chance):
        file = folder / "model.pth"
        data = file.read_bytes()
        if chance.random() < 0.2:
            file.write_bytes(mutate_bytes(data, chance))
        else:
            file.write_bytes(mutate_zip(data, chance, hostile_pickle(self.canary, chance)))
        return _convert(file.name, chance)

    def _exported(self, folder, chance, name):
        file = chance.choice(sorted((folder / name).iterdir()))
        if file.suffix == ".yaml":
            file.write_bytes(mutate_text(file.read_text(), chance, hostile_yaml(self.canary)))
        else:
            file.write_bytes(mutate_bytes(file.read_bytes(), chance))
        return _predict(weights=name)

    def _flags(self, folder, chance):
        arguments = chance.choice([_val(), _train(), _predict()])
        for _ in range(chance.choice([1, 2, 3])):
            at = chance.randrange(1, len(arguments) + 1)
            flags = ("--iters", "--batch_size", "--scales", "--is_slide", "--crop_size", "--num_workers", "--opts")
            words = [chance.choice((*flags, *WORDS)).replace("\x00", "") for _ in range(2)]
            arguments[at : at + chance.randrange(2)] = words[: chance.choice([1, 2])]
        return arguments

    def _damage_pickle(self, file, chance):
        hostile = chance.random() < 0.3
        file.write_bytes(hostile_pickle(self.canary, chance) if hostile else mutate_bytes(file.read_bytes(), chance))


def _encode(pixels, chance):
    suffix = chance.choice([suffix for suffix in IMAGE_SUFFIXES if suffix != ".gif"])
    return cv2.imencode(suffix, pixels)[1].tobytes()


def _convert(file, chance):
    source = chance.choice(["mmseg", "detectron2", "torchvision"])
    return ["convert", file, "new.pdparams", "--from", source, "--config", "config.yml"]


def _val(weights=WEIGHTS):
    return ["val", "--config", "config.yml", "--device", "cpu", "--model_path", weights]


def _export(file_format, save_dir):
    return [
        "export",
        "--config",
        "config.yml",
        "--model_path",
        WEIGHTS,
        "--format",
        file_format,
        "--save_dir",
        save_dir,
    ]


def _train(save_dir="new"):
    return ["train", "--config", "config.yml", "--device", "cpu", "--save_dir", save_dir]


def _predict(image=("--image_path", "data/leftImg8bit/val"), weights=WEIGHTS):
    config = ["--config", "config.yml", "--device", "cpu"]
    return ["predict", *config, "--model_path", weights, *image, "--save_dir", "predicted"]


def _check(code):
    if code:
        raise RuntimeError("a whole input is refused")
