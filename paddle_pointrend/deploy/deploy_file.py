"""deploy.yaml, the file of an exported folder that says what its network takes and makes.

PaddleSeg's deploy scripts read the part `Deploy`, `Predictor` the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import yaml

from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.instance_settings import GRAPHS, SUFFIXES, InstanceSettings
from paddle_pointrend.errors import UsageError
from paddle_pointrend.yaml_files import read_yaml

FILE_NAME = "deploy.yaml"
# The formats of exported networks, and the files of each under the names that PaddleSeg gives them.
FORMATS = {"onnx": {"model": "model.onnx"}, "paddle": {"model": "model.json", "params": "model.pdiparams"}}
EXPORT_PRECISIONS = ("fp32", "int8")


def _are_numbers(values, count=None):
    return (
        isinstance(values, list)
        and count in (None, len(values))
        and all(type(value) in (int, float) and np.isfinite(value) for value in values)
    )


def _are_colours(palette):
    return isinstance(palette, list) and all(
        _are_numbers(colour, 3) and all(0 <= value <= 255 for value in colour) for colour in palette
    )


def _are_transforms(deploy):
    transforms = deploy.get("transforms") or [] if isinstance(deploy, dict) else None
    return isinstance(transforms, list) and all(
        isinstance(t, dict) and isinstance(t.get("type"), str) for t in transforms
    )


# What each key of a file that others may have changed has to be, in words and as a function.
_EXPECTED: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("Deploy", "PaddleSeg's part, whose transforms each have a type", _are_transforms),
    ("format", "'onnx' or 'paddle'", lambda value: value in ("onnx", "paddle")),
    ("output", "'logits', 'label' or 'instances'", lambda value: value in ("logits", "label", "instances")),
    ("num_classes", "an integer of at least 1", lambda value: type(value) is int and value >= 1),
    ("channels", "'rgb' or 'bgr'", lambda value: value in ("rgb", "bgr")),
    ("mean", "a list of numbers", _are_numbers),
    ("std", "a list of numbers other than 0", lambda value: _are_numbers(value) and 0 not in value),
    ("palette", "a list of colours, three numbers from 0 to 255", _are_colours),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeployFile:
    """Describes an exported network: `read` it from its folder, or make it `for_export` and `write` it.

    Attributes:
        deploy: PaddleSeg's part: the files, the val transforms as dicts, the shape of the input.
        format: one of FORMATS.
        output: "logits" or "label"; or "instances", of a network of three graphs.
        num_classes: K.
        classes: K names.
        palette: K RGB colours; of instances none.
        channels: "rgb" or "bgr", the order that the network reads.
        mean, std: of the input's channels, in pixel values 0 to 255: the input is (pixel - mean) / std.
        instances: of a network of instances.
        sha256: of each of the files, None where an export of an earlier version did not write them.
        precision: one of EXPORT_PRECISIONS.
        quantization: the fields of a `quantization.Quantization` where the precision is "int8".
    """

    deploy: dict[str, Any]
    format: str
    output: str
    num_classes: int
    classes: list[str] | None = None
    palette: list[list[int]]
    channels: str
    mean: list[float]
    std: list[float]
    instances: InstanceSettings | None = None
    sha256: dict[str, str] | None = None
    precision: str = "fp32"
    quantization: dict[str, Any] | None = None

    @classmethod
    def for_export(
        cls,
        *,
        format: str,
        output: str,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | np.ndarray,
        image_channels: int,
        transforms: Sequence[dict] = (),
    ) -> DeployFile:
        """Describes a network that is being exported.

        Args:
            format: one of FORMATS.
            output: "logits" or "label".
            classes: K names.
            palette: [K, 3] RGB.
            image_channels: of the network's input.
            transforms: PaddleSeg's val transforms as dicts.
        """
        transforms = [dict(transform) for transform in transforms]
        deploy = {
            **FORMATS[format],
            "transforms": transforms,
            "input_shape": [-1, image_channels, -1, -1],
            "output_op": "argmax" if output == "label" else "none",
            "output_dtype": "uint8" if output == "label" else "float32",
        }
        return cls(
            deploy=deploy,
            format=format,
            output=output,
            num_classes=len(classes),
            classes=list(classes),
            palette=np.asarray(palette).tolist(),
            **normalization(transforms, image_channels),
        )

    @classmethod
    def read(cls, folder: str | os.PathLike) -> DeployFile:
        """Reads an exported folder's deploy.yaml.

        Raises:
            RuntimeLoadError: there is none, or not one that `paddle-pointrend export` wrote.
        """
        file = pathlib.Path(folder) / FILE_NAME
        if not file.is_file():
            raise RuntimeLoadError(
                f"{folder} holds no {FILE_NAME}, expected a folder that paddle-pointrend export wrote"
            )
        try:
            content = read_yaml(file)
        except UsageError as error:
            raise RuntimeLoadError(str(error)) from error
        missing = [key for key, *_ in _EXPECTED if key not in content]
        if missing:
            raise RuntimeLoadError(f"{file} has no {', '.join(missing)}, expected what paddle-pointrend export writes")
        for key, expected, is_right in _EXPECTED:
            if not is_right(content[key]):
                raise RuntimeLoadError(f"{file}: {key} is {str(content[key])[:100]!r}, expected {expected}")
        sums = content.get("sha256")
        if sums is not None and not (isinstance(sums, dict) and all(isinstance(part, str) for part in sums.values())):
            raise RuntimeLoadError(f"{file}: sha256 is {str(sums)[:100]!r}, expected a checksum of each file")
        if content.get("precision", "fp32") not in EXPORT_PRECISIONS:
            raise RuntimeLoadError(
                f"{file}: precision is {str(content['precision'])[:100]!r}, expected 'fp32' or 'int8'"
            )
        names = [field.name for field in dataclasses.fields(cls) if field.name in content]
        values = {name: content[name] for name in names}
        if content["output"] == "instances":
            try:
                values["instances"] = InstanceSettings.of_mapping(content.get("instances"))
            except ValueError as error:
                raise RuntimeLoadError(f"{file}: {error}") from error
        return cls(deploy=content["Deploy"], **values)

    def write(self, folder: str | os.PathLike) -> None:
        """Writes deploy.yaml into a folder that exists."""
        names = [field.name for field in dataclasses.fields(self)]
        content = {"Deploy" if name == "deploy" else name: getattr(self, name) for name in names}
        content["instances"] = self.instances and dataclasses.asdict(self.instances)
        for name in ("sha256", "quantization", "instances"):
            if content[name] is None:
                del content[name]
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (pathlib.Path(folder) / FILE_NAME).write_text(text, encoding="utf-8")

    def with_checksums(self, folder: str | os.PathLike) -> DeployFile:
        """Adds the checksums of the files in a folder."""
        return dataclasses.replace(self, sha256={name: _sha256(pathlib.Path(folder) / name) for name in self.files})

    def check_files(self, folder: str | os.PathLike) -> None:
        """Compares the folder's files with their checksums, where there are any: runtimes may crash on damaged ones.

        Raises:
            RuntimeLoadError: a file that is not the exported one.
        """
        for name in self.files:
            file, expected = pathlib.Path(folder) / name, (self.sha256 or {}).get(name)
            if expected is not None and file.is_file() and _sha256(file) != expected:
                raise RuntimeLoadError(f"{file} is damaged: {FILE_NAME} has another sha256 of it; export it again")

    @property
    def files(self) -> list[str]:
        """The names of the network's files."""
        if self.finds_instances:
            return [f"{graph}{suffix}" for graph in GRAPHS for suffix in SUFFIXES[self.format]]
        return list(FORMATS[self.format].values())

    @property
    def finds_instances(self) -> bool:
        """Whether it is a network of instances."""
        return self.output == "instances"

    @property
    def makes_labels(self) -> bool:
        """Whether the network makes uint8 [N, H, W] labels instead of logits."""
        return self.output == "label"

    @property
    def transforms(self) -> list[dict]:
        """PaddleSeg's val transforms as dicts."""
        return self.deploy.get("transforms") or []


def _sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def is_exported(folder: str | os.PathLike) -> bool:
    """Tells whether this is an exported folder: one that holds a deploy.yaml."""
    return (pathlib.Path(folder) / FILE_NAME).is_file()


def normalization(transforms: Sequence[dict], image_channels: int = 3) -> dict[str, Any]:
    """Works out what PaddleSeg's transforms do to pixel values: the input is (pixel - mean) / std.

    Args:
        transforms: as dicts, in their order; only Normalize and RGBToBGR among them count.
        image_channels: of the network's input.

    Returns:
        "channels", "rgb" or "bgr", the order that the network reads; "mean" and "std", lists of image_channels numbers
        for pixel values 0 to 255.
    """
    channels, mean, std = "rgb", np.zeros(image_channels), np.ones(image_channels)
    for transform in transforms:
        if transform["type"] == "RGBToBGR":
            channels, mean, std = "rgb" if channels == "bgr" else "bgr", mean[::-1], std[::-1]
        elif transform["type"] == "Normalize":
            # Of 255ths, and 0.5 where nothing is named, as PaddleSeg does it. One number may stand for all channels.
            shift, scale = (255 * np.asarray(transform.get(key, 0.5), "float64") for key in ("mean", "std"))
            mean, std = mean + shift * std, std * scale
    return {"channels": channels, "mean": mean.tolist(), "std": std.tolist()}
