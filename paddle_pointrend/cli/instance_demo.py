"""What demo --instances does: trains PointRend's Mask R-CNN on the scenes, measures it and draws what it finds."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from paddle import nn

from paddle_pointrend.cli.common import make_save_dir, versions
from paddle_pointrend.cli.instances import draw
from paddle_pointrend.cli.train import say_how_to_evaluate
from paddle_pointrend.data.coco import read_coco_image, true_instances
from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.evaluation import instance_table
from paddle_pointrend.evaluation.instance_pictures import draw_instances, instance_colors
from paddle_pointrend.evaluation.visualize import side_by_side
from paddle_pointrend.files import write_json, write_whole
from paddle_pointrend.paddleseg.config_files import configs_folder
from paddle_pointrend.paddleseg.configs import load_config, make_builder
from paddle_pointrend.paddleseg.instance_data import build_instance_dataset
from paddle_pointrend.paddleseg.instance_prediction import predict_instances
from paddle_pointrend.paddleseg.instance_reporting import measure_instances, write_instances_report
from paddle_pointrend.paddleseg.instance_training import train_instances
from paddle_pointrend.paddleseg.models import load_model

CONFIG = configs_folder() / "scenes" / "pointrend_rcnn_efficientnet_lite0.yml"
SCENES_SHOWN = 4


def show_instances(args: argparse.Namespace, folder: Path, start: float) -> tuple[Path, list[str]]:
    """Trains on the scenes in folder; writes into SAVE_DIR/instances and returns it and the names of what it wrote.

    Args:
        args: the demo's.
        folder: of the scenes.
        start: when the demo began, in seconds of time.time().
    """
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
    measures = measure_instances(model, dataset)
    print(instance_table(measures.summaries, dataset.coco.class_names))
    write_json(save_dir / "metrics.json", measures.summaries)
    _, png = cv2.imencode(".png", picture(model, dataset)[..., ::-1])
    write_whole(save_dir / "instances.png", png.tobytes())
    metadata = {
        "training": f"{config.iters} times {config.batch_size} images, {args.num_train} scenes, seed {args.seed}",
        "evaluation": f"{args.num_val} held-out scenes of 512x256",
        "time": f"{(time.time() - start) / 60:.1f} minutes",
        **versions(),
    }
    written = write_instances_report(
        save_dir,
        model,
        dataset,
        measures,
        title="PointRend's instances in generated street scenes",
        metadata=metadata,
        log_dir=save_dir / "training",
        num_images=2,
    )
    return save_dir, [*written, "metrics.json", "instances.png"]


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
