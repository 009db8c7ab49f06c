"""Lets PaddleSeg read weights without executing what their files ask for."""

from __future__ import annotations

import importlib
from typing import Any

import paddle

from paddle_pointrend.models.paddle_files import load_paddle_file

# Where PaddleSeg calls paddle.load: `pretrained` of models and backbones, and a training that is resumed.
_MODULES = (
    "paddleseg.utils.utils",
    "paddleseg.models.backbones.vision_transformer",
    "paddleseg.models.backbones.cae",
)


class _Paddle:
    """The package paddle, whose load is ours."""

    load = staticmethod(load_paddle_file)

    def __getattr__(self, name: str) -> Any:
        return getattr(paddle, name)


def patch_weight_loading() -> list[str]:
    """Replaces paddle.load, which unpickles whatever a file names, inside PaddleSeg; nowhere else in the process."""
    patched = []
    for name in _MODULES:
        module: Any = importlib.import_module(name)
        if not isinstance(module.paddle, _Paddle):
            module.paddle = _Paddle()
            patched.append(name)
    return patched
