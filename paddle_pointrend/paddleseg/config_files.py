"""The configs that come with the package: found, described, copied with what they inherit."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from paddle_pointrend.errors import UsageError
from paddle_pointrend.files import write_whole
from paddle_pointrend.paddleseg.configs import files_of

_PACKAGE = Path(__file__).resolve().parents[1]


def configs_folder() -> Path:
    """Returns the folder of the configs: inside the package in a wheel, beside it in a checkout."""
    return next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())


def list_configs() -> dict[str, str]:
    """Lists the configs: dict from a path below the folder to its first comment line; bases are left out."""
    root = configs_folder()
    paths = [path for path in sorted(root.rglob("*.yml")) if "_base_" not in path.relative_to(root).parts]
    return {path.relative_to(root).as_posix(): _first_comment(path) for path in paths}


def copy_configs(names: Sequence[str], folder: str | os.PathLike) -> list[Path]:
    """Copies configs, and what they inherit, below a folder, in their subfolders.

    Args:
        names: paths as `list_configs` has them, with or without .yml and configs/.
        folder: where to; made if it is not there.

    Returns:
        The files, those of `names` first.

    Raises:
        UsageError: no such config; a file of the same name and other content is there already.
    """
    root, known = configs_folder(), list_configs()
    wanted = [f"{name.removeprefix('configs/').removesuffix('.yml')}.yml" for name in names]
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else "paddle-pointrend configs list names them"
            raise UsageError(f"there is no config {name}; {hint}")
    chains = [[Path(os.path.normpath(file)) for file in files_of(root / name)] for name in wanted]
    files = dict.fromkeys([chain[0] for chain in chains] + [file for chain in chains for file in chain[1:]])
    targets = {Path(folder) / file.relative_to(root): file.read_bytes() for file in files}
    for target, content in targets.items():
        if target.exists() and not (target.is_file() and target.read_bytes() == content):
            raise UsageError(f"{target} is there already and differs; name another folder or rename it")
    try:
        for target, content in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, content)
    except OSError as error:
        raise UsageError(f"{folder}: cannot write into this folder: {error.strerror}") from error
    return list(targets)


def _first_comment(path):
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""
