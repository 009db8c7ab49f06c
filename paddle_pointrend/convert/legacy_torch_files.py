"""Reads tensors of torch's first file format (until torch 1.6) without torch, as packages of weights hold them.

A magic number, a protocol number, facts about the machine, the content as a pickle whose tensors are views of storages,
the storages' keys, then each storage: how many values, and the values. A pickle is a program; here it can call nothing
but what writes down the views.
"""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddle_pointrend.convert.checkpoint_files import UntrustedFileError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple


def read_legacy_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict of float32 and int64 tensors; nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        name -> array, a copy.

    Raises:
        UntrustedFileError: another format, other things than such tensors, damaged.
    """
    try:
        return _read(Path(path))
    except UntrustedFileError as error:
        raise UntrustedFileError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file can fail in any way
        reason = f"{type(error).__name__} {' '.join(str(error).split())[:150]}"
        raise UntrustedFileError(f"{path} cannot be read, it may be damaged: {reason}") from error


def _read(path):
    with path.open("rb") as file:
        if _Unpickler(file).load() != _MAGIC_NUMBER:
            raise UntrustedFileError("this is no torch file of the format before torch 1.6")
        _protocol, machine = _Unpickler(file).load(), _Unpickler(file).load()
        if not machine["little_endian"]:
            raise UntrustedFileError("was written on a machine of the other byte order")
        unpickler = _Unpickler(file)
        views = unpickler.load()
        values = {key: _read_values(file, unpickler.storages[key]) for key in _Unpickler(file).load()}
    others = [name for name, view in views.items() if not isinstance(view, _View)]
    if others:
        raise UntrustedFileError(f"{str(others[0])[:150]!r} is not a tensor, expected a state dict")
    return {name: _array(view, values[view.storage.key]) for name, view in views.items()}


def _read_values(file, storage):
    count = int.from_bytes(_read_bytes(file, 8), "little")
    return np.frombuffer(_read_bytes(file, count * storage.dtype.itemsize), storage.dtype)


def _read_bytes(file, count):
    data = file.read(count)
    if len(data) != count:
        raise UntrustedFileError("the file ends too early")
    return data


def _array(view, values):
    """NumPy checks that the view stays inside the values."""
    size = values.dtype.itemsize
    strides = tuple(stride * size for stride in view.strides)
    return np.ndarray(view.shape, values.dtype, values.tobytes(), view.offset * size, strides).copy()


class _Dict(OrderedDict):
    def __setstate__(self, state):
        """Leaves out the attributes of a state dict, its modules' version numbers."""


class _Unpickler(pickle._Unpickler):  # in Python: the one in C reserves gigabytes where an index is damaged
    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _View(storage, offset, shape, strides)
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise UntrustedFileError(f"refused: it asks for {ascii(f'{module}.{name}')[1:-1][:150]}, nothing was executed")

    def persistent_load(self, pid):
        _kind, dtype, key, *_location_and_size = pid
        return self.storages.setdefault(key, _Storage(key, dtype))
