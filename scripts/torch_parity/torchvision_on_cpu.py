"""Lets the package index's torchvision, which is built for CUDA, load beside a torch without CUDA.

Its CPU kernels (roi_align, nms) are whole, but its library wants symbols of torch's CUDA libraries. Two libraries of
those names whose functions end the process are put in their place; nothing calls them. Needs gcc and nm.
"""

import ctypes
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile


def prepare() -> None:
    """Makes `import torchvision` work; does nothing where it works already.

    Raises:
        ImportError: torchvision is not installed.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("pip install --no-deps torchvision, of the release that belongs to this torch")
    if torch.version.cuda is None and "torchvision" not in sys.modules:
        library = pathlib.Path(spec.origin).parent / "_C.so"
        with tempfile.TemporaryDirectory() as folder:
            # The first one offers every missing symbol; of the second the name alone is asked for.
            for name, symbols in (("libc10_cuda.so", _missing_symbols(library)), ("libtorch_cuda.so", [])):
                ctypes.CDLL(str(_build(pathlib.Path(folder) / name, symbols)), mode=ctypes.RTLD_GLOBAL)


def _missing_symbols(library):
    command = ["nm", "-D", "--undefined-only", str(library)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
    return sorted(name for name in names if re.match(r"_ZN.*(3c104cuda|2at4cuda)", name))


def _build(library, symbols):
    is_variable = re.compile("CUDACachingAllocator9allocator")
    lines = ["#include <stdlib.h>", "char filling[64];"]
    lines += [
        f"void *{name}[8] = {{0}};" if is_variable.search(name) else f"void {name}(void) {{ abort(); }}"
        for name in symbols
    ]
    source = library.with_suffix(".c")
    source.write_text("\n".join(lines) + "\n")
    command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return library
