"""Describes what an exported network was trained on, for its deploy.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle_pointrend.data import cityscapes
from paddle_pointrend.errors import UsageError


def describe_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """Finds what `export_model` writes about the data of a PaddleSeg config.

    Args:
        config: the config as a dict.

    Returns:
        "transforms", those of its val_dataset; "classes" where it has `class_names`; "classes" and "palette" where that
        is Cityscapes.

    Raises:
        UsageError: transforms that are none.
    """
    dataset = config.get("val_dataset") or {}
    transforms = dataset.get("transforms") or []
    if not isinstance(transforms, list) or not all(isinstance(t, dict) and "type" in t for t in transforms):
        raise UsageError(f"val_dataset.transforms is {str(transforms)[:80]}, expected a list of dicts with a type")
    description: dict[str, Any] = {"transforms": transforms}
    if dataset.get("type") == "Cityscapes":
        description |= {"classes": cityscapes.CLASSES, "palette": cityscapes.PALETTE}
    if config.get("class_names"):
        description["classes"] = list(config["class_names"])
    return description
