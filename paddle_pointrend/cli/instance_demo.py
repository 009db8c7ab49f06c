"""What demo --instances does: trains PointRend's Mask R-CNN on the scenes, measures it and draws what it finds."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from paddle import nn
from paddleseg.utils import logger

from paddle_pointrend import scenes
from paddle_pointrend.cli.common import make_save_dir
from paddle_pointrend.cli.instances import draw
from paddle_pointrend.cli.train import say_how_to_evaluate
from paddle_pointrend.data.coco import read_coco_image, true_instances
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.evaluation import instance_table
from paddle_pointrend.evaluation.instance_pictures import draw_instances, instance_colors
from paddle_pointrend.evaluation.visualize import side_by_side
from paddle_pointrend.files import write_json, write_whole
from paddle_pointrend.paddleseg.configs import load_config, make_builder
from paddle_pointrend.paddleseg.instance_data import build_instance_dataset
from paddle_pointrend.paddleseg.instance_evaluation import evaluate_instances
from paddle_pointrend.paddleseg.instance_prediction import predict_instances
from paddle_pointrend.paddleseg.instance_training import train_instances
from paddle_pointrend.paddleseg.models import load_model

CONFIG = Path(scenes.__file__).with_name("demo_instances.yml")
SCENES_SHOWN = 4


def show_instances(args: argparse.Namespace, folder: Path) -> None:
    """Trains on the scenes in folder; writes SAVE_DIR/instances/ with metrics.json and instances.png."""
    save_dir = Path(args.save_dir) / "instances"
    opts = [f"{part}.dataset_root={folder}" for part in ("train_dataset", "val_dataset")]
    config = load_config(CONFIG, opts=opts, iters=args.iters)
    make_save_dir(save_dir / "training")
    log_iters = min(10, config.iters)
    last = train_instances(
        config, save_dir / "training", seed=args.seed, use_vdl=True, keep_checkpoint_max=1, log_iters=log_iters
    )
    say_how_to_evaluate(CONFIG, last, opts)
    model = load_model(config, last)
    dataset = build_instance_dataset(make_builder(config), config, "val_dataset")
    summaries = evaluate_instances(model, dataset)
    print(instance_table(summaries, dataset.coco.class_names))
    write_json(save_dir / "metrics.json", summaries)
    _, png = cv2.imencode(".png", picture(model, dataset)[..., ::-1])
    write_whole(save_dir / "instances.png", png.tobytes())
    for name in ("metrics.json", "instances.png"):
        logger.info(f"Wrote {save_dir / name}")


def picture(model: nn.Layer, dataset: CocoInstances) -> np.ndarray:
    """Draws some scenes in rows, their true instances at the left and what the model finds at the right: RGB uint8."""
    rows: list[np.ndarray] = []
    for image in dataset.coco.images[:SCENES_SHOWN]:
        pixels = read_coco_image(image)
        boxes, masks = true_instances(image)
        truth = draw_instances(pixels, boxes, masks, [""] * len(boxes), instance_colors(len(boxes)))
        found = draw(pixels, predict_instances(model, dataset, pixels), dataset.coco.class_names)
        rows.append(side_by_side([truth, found], ["truth", "PointRend"] if not rows else None))
    return np.vstack(rows)
