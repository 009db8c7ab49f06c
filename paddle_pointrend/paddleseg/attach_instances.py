"""Puts PointRend's mask head on a trained Mask R-CNN: the config that trains it, everything else frozen."""

from __future__ import annotations

import copy
import os
import pathlib
import tempfile
from typing import Any

import yaml
from paddleseg.cvlibs import Config

from paddle_pointrend.errors import UsageError
from paddle_pointrend.models.instance import MaskRCNN, StandardMaskHead
from paddle_pointrend.paddleseg.attach import ITERS, LEARNING_RATE, Attached, new_schedule
from paddle_pointrend.paddleseg.configs import build, drop_pretrained, load_config, make_builder
from paddle_pointrend.paddleseg.models import load_trained_weights, weights_file

MASK_HEAD = "mask_head."


def attach_mask_head(
    config: str | os.PathLike,
    weights: str | os.PathLike,
    *,
    iters: int | None = None,
    learning_rate: float = LEARNING_RATE,
) -> Attached:
    """Works out the config that puts PointRend's mask head on a trained Mask R-CNN, and checks it: the model is built.

    Args:
        config: the YAML config of the trained network.
        weights: as of `load_model`.
        iters: of the mask head's training; None for ITERS, or the config's where those are fewer.
        learning_rate: at the start of that training.

    Raises:
        UsageError: a config or weights that do not fit, or a network whose mask head is PointRend's already.
    """
    base_config = load_config(config)
    options = copy.deepcopy(base_config.dic["model"])
    host = _load_host(config, base_config, weights)
    drop_pretrained(options)
    changes: dict[str, Any] = {
        "iters": iters or min(ITERS, base_config.iters),
        "model": {
            "_inherited_": False,
            **options,
            "mask_head": _mask_head(host),
            "freeze_detector": True,
            "pretrained": weights_file(weights),
        },
        **new_schedule(learning_rate),
    }
    model = build(make_builder(_read_changed(config, changes)), os.fspath(config), "model")
    trained, found = host.state_dict(), model.state_dict()
    kept = [name for name in trained if not name.startswith(MASK_HEAD)]
    if any(not (found[name] == trained[name]).all() for name in kept):
        raise RuntimeError("the trained detector and the one under the new mask head differ")
    head = model.mask_head
    reads = (
        f"PointRend's mask head on P2 (stride {host.strides[0]}, {head.in_channels} channels) takes the place of\n"
        f"{type(host.mask_head).__name__}; its masks are of {head.initial_side * 2**head.num_steps} pixels a side."
    )
    return Attached(type(host).__name__, changes, reads, model)


def _load_host(path: str | os.PathLike, config: Config, weights: str | os.PathLike) -> MaskRCNN:
    drop_pretrained(config.dic["model"])
    host = build(make_builder(config), os.fspath(path), "model")
    if not isinstance(host.mask_head, StandardMaskHead):
        raise UsageError(f"--config {path}: its mask head is a {type(host.mask_head).__name__} already")
    load_trained_weights(host, weights, config.dic["model"].get("num_classes"))
    return host


def _mask_head(host):
    """PointRend's options for a network's pyramid: at 256 channels those of the reference, narrower where it is."""
    channels = host.mask_head.in_channels
    head = {
        "type": "PointRendMaskHead",
        "num_classes": host.num_classes,
        "in_channels": channels,
        "coarse_head": {"channels": channels, "fc_channels": min(1024, 4 * channels)},
        "point_head": {"hidden_channels": channels},
    }
    return head if host.strides[0] == 4 else {**head, "stride": host.strides[0]}


def _read_changed(path, changes):
    """Reads the new config from YAML as it will be."""
    with tempfile.TemporaryDirectory() as folder:
        draft = pathlib.Path(folder, "draft.yml")
        draft.write_text(yaml.safe_dump({"_base_": os.path.abspath(path), **changes}), encoding="utf-8")
        return load_config(draft)
