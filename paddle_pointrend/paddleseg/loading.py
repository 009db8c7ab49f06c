"""Lets PaddleSeg read weights, downloads and configs without executing what they hold."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
from typing import Any

import paddle
from paddle import nn
from paddleseg import datasets
from paddleseg.utils import utils

from paddle_pointrend.downloads import fetch_folder, fetch_weights
from paddle_pointrend.errors import UsageError
from paddle_pointrend.models.paddle_files import load_paddle_file

# Where PaddleSeg calls paddle.load: `pretrained` of models and backbones, and a training that is resumed.
_LOADING_MODULES = (
    "paddleseg.utils.utils",
    "paddleseg.models.backbones.vision_transformer",
    "paddleseg.models.backbones.cae",
)
# Where PaddleSeg evaluates a text of the config, the name of a layer.
_EVALUATING_MODULES = (
    "paddleseg.models.backbones.vision_transformer",
    "paddleseg.models.backbones.cae",
    "paddleseg.models.pp_liteseg",
    "paddleseg.models.mobileseg",
)


class _Paddle:
    """The package paddle, whose load is ours."""

    load = staticmethod(load_paddle_file)

    def __getattr__(self, name: str) -> Any:
        return getattr(paddle, name)


def patch_weight_loading() -> list[str]:
    """Replaces paddle.load, which unpickles whatever a file names, inside PaddleSeg; nowhere else in the process."""
    patched = []
    for name in _LOADING_MODULES:
        module: Any = importlib.import_module(name)
        if not isinstance(module.paddle, _Paddle):
            module.paddle = _Paddle()
            patched.append(name)
    return patched


def patch_downloads() -> list[str]:
    """Replaces PaddleSeg's downloads, which take any address and any archive, of weights and of data sets."""
    if utils.download_pretrained_model is fetch_weights:
        return []
    utils.download_pretrained_model = fetch_weights
    for module in vars(datasets).values():
        if hasattr(module, "download_file_and_uncompress"):
            module.download_file_and_uncompress = _download_dataset
    return ["download_pretrained_model", "download_file_and_uncompress"]


def patch_evaluated_names() -> list[str]:
    """Replaces the eval of a config's text, inside PaddleSeg, by looking up the layer that it names."""
    patched = []
    for name in _EVALUATING_MODULES:
        module: Any = importlib.import_module(name)
        if "eval" not in vars(module):
            module.eval = _layers_of(module)
            patched.append(name)
    return patched


def _download_dataset(url, savepath=".", extrapath=".", extraname=None, **_):
    """Unpacks a data set as the folder extrapath/extraname, by default of the archive's name, unless it is there."""
    folder = pathlib.Path(extrapath, extraname or os.path.basename(url).rpartition(".")[0])
    if not folder.exists():
        fetch_folder(url, folder)
    return str(folder)


def _layers_of(module):
    def look_up(text):
        found: Any = module
        for name in text.split(".") if re.fullmatch(r"\w+(\.\w+)*", text) else []:
            found = getattr(found, name, None)
        if not (isinstance(found, type) and issubclass(found, nn.Layer)):
            raise UsageError(f"{text[:100]!a} is no layer that {module.__name__} knows")
        return found

    return look_up
