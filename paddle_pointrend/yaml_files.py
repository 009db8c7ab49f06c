"""Reads YAML files, which are untrusted: plain values alone, of a limited size."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import yaml

from paddle_pointrend.errors import UsageError, one_line

_MOST_BYTES = 2**20
_MOST_VALUES = 100_000  # with everything that aliases repeat
_MOST_LEVELS = 50


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a YAML file that is a mapping of strings to plain values.

    Raises:
        UsageError: no such file; not UTF-8 or not YAML; too large, too deep, or made so by aliases; a tag of Python's
            objects; something else than a mapping.
    """
    try:
        content = pathlib.Path(path).read_bytes()
        if len(content) > _MOST_BYTES:
            raise UsageError(f"{path} has {len(content)} bytes, a YAML file of at most {_MOST_BYTES} was expected")
        content = _load(path, content.decode("utf-8-sig"))
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: cannot read this file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {one_line(error)}") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply") from error
    except Exception as error:  # values fail in any way: 2020-99-99
        raise UsageError(f"{path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{path}: expected lines `name: value`, got {_described(content)}")
    return content


def _load(path, text):
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _check_size(path, node, {}, 1)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _check_size(path, node, known, depth):
    """Counts a node's values, each alias as all that it stands for, and its levels: (values, levels).

    Raises:
        UsageError: too many of one; an alias that holds itself has no end of levels; a zero byte in a text.
    """
    values, levels = known.get(node, (1, 1))
    if depth + levels > _MOST_LEVELS:
        raise UsageError(f"{path} is nested more than {_MOST_LEVELS} deep, or an alias holds itself")
    if isinstance(node, yaml.ScalarNode) and "\0" in node.value:  # no path may hold one
        raise UsageError(f"{path}: the value {node.value[:100]!a} holds a zero byte")
    if node in known or isinstance(node, yaml.ScalarNode):
        return values, levels
    parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    for part in parts:
        more, below = _check_size(path, part, known, depth + 1)
        values, levels = values + more, max(levels, below + 1)
        if values > _MOST_VALUES:
            raise UsageError(f"{path} has more than {_MOST_VALUES} values, with all that its aliases repeat")
    known[node] = values, levels
    return values, levels


def _described(content):
    return "other names than strings" if isinstance(content, dict) else type(content).__name__
