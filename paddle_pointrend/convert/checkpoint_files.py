"""Reads the tensors of torch, detectron2 and safetensors files, which are untrusted.

A pickle is a program: pickle.load imports and calls whatever it names. Here it is given stand-ins that only write down
what they are called with; the arrays are made afterwards, of dtypes and shapes that were looked at.
"""

import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np

from paddle_pointrend.models.paddle_files import load_safetensors
from paddle_pointrend.models.weights import CheckpointError

_EXPECTED = "expected a torch file (.pth, .pt), a detectron2 pickle (.pkl) or a .safetensors file"
_TORCH_HEADS = b"PK\x03\x04", pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # zip, legacy
_INSTALL_TORCH = 'pip install -c constraints.txt -e ".[torch]"'
_LAYOUTS = ("state_dict", "model", "blobs")  # mmsegmentation; detectron2 and others; Caffe2

_META_GLOBALS = ("datetime.datetime", "datetime.timedelta", "datetime.timezone", "argparse.Namespace")
_NUMPY_GLOBALS = ["numpy.ndarray", "numpy.dtype"]
for _core in ("numpy.core", "numpy._core"):  # as NumPy 1 and 2 name it
    _NUMPY_GLOBALS += [f"{_core}.multiarray._reconstruct", f"{_core}.multiarray.scalar", f"{_core}.numeric._frombuffer"]


class UntrustedFileError(CheckpointError):
    """A file of another framework that cannot be read, or that asks for more than tensors."""


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of another framework's checkpoint, without optimizer and meta data; nothing in it is executed.

    The content decides the format, the suffix only where the content does not: torch files (zip or legacy; a flat
    state dict, or one under "state_dict" or "model", beside it mmengine's message hub too), pickles of arrays as
    detectron2 and Caffe2 write them (flat, under "model" or "blobs", without the `_momentum` blobs), safetensors.

    Args:
        path: the file.

    Returns:
        name -> numpy.ndarray, a writable copy: floating point of any width as float32, integers and booleans as they
        are. Names are as in the file, without the `module.` of DataParallel where all have it.

    Raises:
        UntrustedFileError: no such file, none of the formats, truncated, without tensors or with other things among
            them, asks for a global that is not admitted; torch is missing or too old.
    """
    path = Path(path)
    try:
        return _read(path)
    except UntrustedFileError as error:
        raise UntrustedFileError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file can fail in any way
        raise UntrustedFileError(f"{path}: {_explain(error)}") from error


def _read(path):
    if not path.is_file():
        raise UntrustedFileError(f"{'this is a folder' if path.is_dir() else 'no such file'}, {_EXPECTED}")
    with path.open("rb") as file:
        content, to_array = _reader(file.read(512), path.suffix.lower())(path)
    if not isinstance(content, dict):
        raise UntrustedFileError(f"holds a {type(content).__name__}, expected a dict of tensors")
    found = next((content[key] for key in _LAYOUTS if isinstance(content.get(key), dict)), content)
    if not found:
        raise UntrustedFileError(f"holds no tensors, expected some at the top or under {' or '.join(_LAYOUTS)}")
    if "StructuredToParameterName@@" in found:
        raise UntrustedFileError("this is a file of Paddle's, which needs no conversion: --model_path takes it")
    tensors = {}
    for name in found:
        array = to_array(found[name])
        if not isinstance(name, str) or array is None or array.dtype.kind not in "fiub":
            raise UntrustedFileError(f"{_clean(name)!r} is not a tensor of numbers; save the model's state dict alone")
        tensors[name] = np.array(array, np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="))
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name[len(prefix) :]: array for name, array in tensors.items()}


def _reader(head, suffix):
    """Picks the reader of a file that begins so: path -> (content, function of a value -> array or None)."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise UntrustedFileError("the file is empty, download it again")
    if text.startswith(b"<"):
        raise UntrustedFileError(f"this is a web page, {_EXPECTED}; download it again")
    if text.startswith(b"version https://git-lfs"):
        raise UntrustedFileError("this is a Git LFS pointer, not the checkpoint itself; fetch that with `git lfs pull`")
    if head.startswith(_TORCH_HEADS):
        return _read_torch
    if head[6:9] == b"\0\0{" or suffix == ".safetensors":  # the length of a header of JSON
        return _read_safetensors
    if head.startswith(b"\x80") or suffix == ".pkl":
        return _read_pickle
    raise UntrustedFileError(f"begins with {head[:8]!r}, which is no known format or damaged; {_EXPECTED}")


def _read_torch(path):
    try:
        import torch
    except ImportError:
        raise UntrustedFileError(f"reading a torch file needs torch: {_INSTALL_TORCH}") from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10):
        hole = f"torch {torch.__version__} can be made to execute what a file holds (CVE-2025-32434, CVE-2026-24747)"
        raise UntrustedFileError(f"{hole}; needs torch 2.10 or newer: {_INSTALL_TORCH}")
    # What mmengine's message hub is made of; the methods in a HistoryBuffer's state are pickled as getattr(...).
    # And what training scripts put into meta.
    others = ["mmengine.logging.history_buffer.HistoryBuffer", "builtins.getattr", *_NUMPY_GLOBALS, *_META_GLOBALS]
    with warnings.catch_warnings(), torch.serialization.safe_globals([(_StandIn, name) for name in others]):
        warnings.simplefilter("ignore")  # what torch warns about, it then refuses
        content = torch.load(path, map_location="cpu", weights_only=True)

    def to_array(value):
        if not isinstance(value, torch.Tensor):
            return None
        value = torch.Tensor.detach(value)  # a method of the class: a file may give its tensors attributes
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            return None
        return (value.float() if value.is_floating_point() else value).numpy(force=True)

    return content, to_array


def _read_safetensors(path):
    return load_safetensors(path), lambda array: array


def _read_pickle(path):
    with path.open("rb") as file:
        content = _Unpickler(file, encoding="latin1").load()  # Python 2 kept the bytes of arrays in a str
    if isinstance(content, dict):
        blobs = content["blobs"] if isinstance(content.get("blobs"), dict) else content
        for name in [name for name in blobs if str(name).endswith("_momentum")]:
            del blobs[name]
    return content, _array


class _StandIn:
    """For a global of a pickle: writes down its arguments and its state and does nothing else."""

    arguments, state = (), None

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class _Dict(dict):
    """For OrderedDict, without the attributes by which a pickle could hide its methods."""

    def __setstate__(self, state):
        pass


class _Unpickler(pickle._Unpickler):  # pickle.Unpickler is in C and reserves gigabytes where a memo index is damaged
    def find_class(self, module, name):
        full_name = f"{module}.{name}".replace("__builtin__", "builtins")
        if full_name == "collections.OrderedDict":
            return _Dict
        if full_name not in (*_NUMPY_GLOBALS, "_codecs.encode", "builtins.bytes"):
            raise UntrustedFileError(_refusal(full_name))
        return type(name, (_StandIn,), {})


def _array(value):
    """Makes the array or number whose pickle called these stand-ins; None if it is something else."""
    kind = type(value).__name__ if isinstance(value, _StandIn) else None
    if kind == "_reconstruct":
        *_, shape, dtype, is_fortran, data = value.state
        order = "F" if is_fortran else "C"
    elif kind == "_frombuffer":  # protocol 5
        data, dtype, shape, order = value.arguments
    elif kind == "scalar":
        (dtype, data), shape, order = value.arguments, (), "C"
    else:
        return None
    if isinstance(data, _StandIn):  # _codecs.encode(text, "latin1") or bytes(), protocol 2's ways to write bytes
        data = data.arguments[0] if data.arguments else b""
    data = data.encode("latin1") if isinstance(data, str) else data
    code = f"{dtype.state[1]}{dtype.arguments[0]}"
    if not isinstance(data, bytes | bytearray) or not re.fullmatch("[<>=|](f[248]|[iu][1248]|b1)", code):
        return None
    return np.frombuffer(data, code).reshape(shape, order=order)


def _refusal(name):
    return (
        f"refused: it asks for {_clean(name)}, and tensors do not need that; nothing of it was executed; save the "
        "tensors alone where they were trained, torch.save(model.state_dict(), FILE)"
    )


def _explain(error):
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:  # torch leaves out "builtins."
        return _refusal(asked[1] if "." in asked[1] else f"builtins.{asked[1]}")
    lines = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()
    reason = _clean(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)
    return f"cannot be read ({reason}); {_EXPECTED}; if it is truncated, download it again"


def _clean(text):
    """Keeps one line of at most 150 characters, without control characters, which a hostile file may use in a name."""
    return ascii(text)[1:-1][:150] if isinstance(text, str) else f"<{type(text).__name__}>"
