"""Reads files that paddle.save wrote, which are untrusted: weights are shared, and a pickle is a program.

paddle.load imports and calls whatever a file names. Here only what tensors, arrays and containers need is admitted.
A .safetensors file holds tensors and nothing else.
"""

from __future__ import annotations

import io
import os
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

_ADMITTED = {
    *("numpy.ndarray", "numpy.dtype", "collections.OrderedDict", "_codecs.encode"),
    *(f"builtins.{name}" for name in ("tuple", "list", "dict", "set", "bytes", "bytearray", "complex")),
}
for _core in ("numpy.core", "numpy._core"):  # as NumPy 1 and 2 name it
    _ADMITTED |= {f"{_core}.multiarray._reconstruct", f"{_core}.multiarray.scalar", f"{_core}.numeric._frombuffer"}
_BIG_PARAMETERS = "UnpackBigParamInfor@@"  # arrays of a gigabyte and more in slices, pickle protocols 2 and 3
_NAME_TABLE = "StructuredToParameterName@@"


class RefusedError(ValueError):
    """A file that asks for more than tensors; nothing of it was executed."""


def load_paddle_file(path: str | os.PathLike, **options: Any) -> Any:
    """Reads what paddle.save wrote, of Paddle 2 and 3, as paddle.load does; or a .safetensors file.

    Args:
        path: the file.
        options: of paddle.load; of them `return_numpy` counts.

    Returns:
        The dict, list or tensor that was saved, or arrays in the place of tensors with return_numpy.

    Raises:
        RefusedError: the file asks for a function or class that tensors do not need; it was not called.
        Exception: any other, of a damaged file.
    """
    return_numpy = bool(options.get("return_numpy", False))
    if os.fspath(path).endswith(".safetensors"):
        return _restore(load_safetensors(path), return_numpy)
    with open(path, "rb") as file:
        content = _Unpickler(file, encoding="latin1").load()
    if not isinstance(content, dict):
        return _restore(content, return_numpy)
    _join_slices(content)
    names = content.pop(_NAME_TABLE, {})
    state = _restore(content, return_numpy)
    for key, name in {} if return_numpy else names.items():
        if isinstance(state.get(key), paddle.Tensor):
            state[key].name = name
    return state


def load_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a .safetensors file; bfloat16, which NumPy lacks, as float32.

    Raises:
        ValueError: numbers of another kind. Exception: any other, of a damaged file.
    """
    from safetensors import deserialize

    with open(path, "rb") as file:
        views = deserialize(file.read())
    arrays = {}
    for name, view in views:
        if view["dtype"] == "BF16":  # the upper half of a float32
            flat = (np.frombuffer(view["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
        elif known := re.fullmatch("([FIU])(16|32|64|8)", view["dtype"].replace("BOOL", "U8")):
            flat = np.frombuffer(view["data"], f"<{known[1].lower()}{int(known[2]) // 8}")
        else:
            raise ValueError(f"{name!a:.150} holds numbers of kind {view['dtype']}")
        arrays[name] = flat.astype(bool if view["dtype"] == "BOOL" else flat.dtype).reshape(view["shape"])
    return arrays


def encode_state(state: Mapping[str, np.ndarray], suffix: str) -> bytes:
    """Makes the content of a file of weights: ".pdparams", as paddle.save writes it, or ".safetensors"."""
    if suffix == ".safetensors":
        from safetensors.numpy import save

        return save({name: np.ascontiguousarray(array) for name, array in state.items()})
    content = io.BytesIO()
    paddle.save({name: paddle.to_tensor(array) for name, array in state.items()}, content)
    return content.getvalue()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        full_name = f"{module}.{name}".replace("__builtin__", "builtins")
        if full_name == "builtins.eval":  # how paddle.save writes the tensors of a static graph
            return _evaluate_data
        if full_name not in _ADMITTED:
            raise RefusedError(_refusal(ascii(full_name)[1:-1][:150]))
        return super().find_class(module, name)


def _evaluate_data(expression, variables=None):
    """eval("data", {"data": array}), and nothing else."""
    if expression != "data" or not isinstance(variables, dict):
        raise RefusedError(_refusal("builtins.eval of code"))
    return variables["data"]


def _refusal(name):
    return (
        f"refused: it asks for {name}, and weights do not need that; nothing of it was executed; save the state dict "
        "alone where it was trained, paddle.save(model.state_dict(), FILE)"
    )


def _join_slices(content):
    for key, whole in content.pop(_BIG_PARAMETERS, {}).items():
        content[key] = np.concatenate([content.pop(part) for part in whole["slices"]]).reshape(whole["OriginShape"])


def _restore(value, return_numpy):
    """Tensors of arrays, and of the (name, array) pairs that paddle.save makes of tensors; containers inside too."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], np.ndarray):
        tensor = _restore(value[1], return_numpy)
        if not return_numpy:
            tensor.name = value[0]
        return tensor
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiubc":
            raise RefusedError(f"refused: it holds an array of {value.dtype}, expected numbers")
        return value if return_numpy else paddle.to_tensor(value)
    if isinstance(value, dict):
        return type(value)((key, _restore(item, return_numpy)) for key, item in value.items())
    if isinstance(value, (list, tuple, set)):
        return type(value)(_restore(item, return_numpy) for item in value)
    return value
