"""Describes what an exported network was trained on, for its deploy.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle_pointrend.data import cityscapes


def describe_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """Finds what `export_model` writes about the data of a PaddleSeg config.

    Args:
        config: the config as a dict.

    Returns:
        "transforms", those of its val_dataset; "classes" where it has `class_names`; "classes" and "palette" where that
        is Cityscapes.
    """
    dataset = config.get("val_dataset") or {}
    description = {"transforms": dataset.get("transforms") or []}
    if dataset.get("type") == "Cityscapes":
        description |= {"classes": cityscapes.CLASSES, "palette": cityscapes.PALETTE}
    if config.get("class_names"):
        description["classes"] = list(config["class_names"])
    return description
