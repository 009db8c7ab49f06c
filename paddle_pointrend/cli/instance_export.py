"""What export does where the config's model finds instances."""

import argparse
import os

import numpy as np
from paddleseg.cvlibs import Config
from paddleseg.utils import logger

from paddle_pointrend.cli.common import make_save_dir
from paddle_pointrend.data.coco import read_coco_image
from paddle_pointrend.data.instances import resize_pixels
from paddle_pointrend.deploy.deploy_file import DeployFile
from paddle_pointrend.deploy.errors import ExportError
from paddle_pointrend.deploy.instance_export import compare_instances, export_instances
from paddle_pointrend.deploy.instance_predictor import InstancePredictor
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.models.instance import MaskRCNN
from paddle_pointrend.paddleseg.configs import make_builder
from paddle_pointrend.paddleseg.instance_data import describe_images
from paddle_pointrend.paddleseg.instance_prediction import instance_classes, predict_instances
from paddle_pointrend.paddleseg.models import load_model

COMPARED_IMAGES = 2
_NOT_FOR_INSTANCES = {"output": "logits", "output_size": None, "precision": "fp32", "calibration": None}
MOST_DIFFERENT_PIXELS = 1e-3  # of masks, against eager Paddle's; above it the command fails


def export(args: argparse.Namespace, config: Config) -> int:
    """Exports and compares; returns the exit code, 1 if the exported network finds something else."""
    for name, default in _NOT_FOR_INSTANCES.items():
        if getattr(args, name) != default:
            raise UsageError(
                f"--{name} is for networks of labels, but the model of --config {args.config} finds instances"
            )
    model = load_model(config, args.model_path)
    assert isinstance(model, MaskRCNN)
    dataset = describe_images(make_builder(config), config)
    names, category_ids = instance_classes(config, dataset)
    images, whose = _images_to_compare(dataset)
    make_save_dir(args.save_dir)
    try:
        export_instances(
            model,
            args.save_dir,
            format=args.format or "paddle",
            classes=names,
            category_ids=category_ids,
            images=dataset,
        )
    except ExportError as error:
        raise UsageError(str(error)) from error
    logger.info(f"Wrote {', '.join(DeployFile.read(args.save_dir).files)} and deploy.yaml into {args.save_dir}")
    try:
        exported = InstancePredictor(args.save_dir)
        found = [exported.predict(image) for image in images]
    except Exception as error:  # each runtime has exceptions of its own for a network that it cannot run
        logger.error(f"The exported network could not be run, to compare it: {one_line(error)}")
        return 1
    row = compare_instances([predict_instances(model, dataset, image) for image in images], found)
    what = f"Against eager Paddle, {len(images)} {whose} in {exported.runtime}: {row['detections']} instances"
    if not row["same_detections"] or row["different_pixels"] > MOST_DIFFERENT_PIXELS:
        pixels = f", {row['different_pixels']:.2g} of the masks' pixels differ" if row["same_detections"] else ""
        logger.error(f"{what}, the exported network finds others{pixels}; do not use {args.save_dir}")
        return 1
    order = "and order" if row["same_order"] else "but not in order, which equal scores have by chance"
    logger.info(
        f"{what}, the same in number, class {order}; {row['different_pixels']:.2g} of their masks' pixels differ"
    )
    logger.info(
        f"To use it: paddle-pointrend predict --config {args.config} --model_path {args.save_dir} --image_path ..."
    )
    return 0


def _images_to_compare(dataset):
    """COMPARED_IMAGES of a data set, or random ones where it is not there, two sizes; and what they are in words."""
    if os.path.isfile(dataset.annotations):
        found = [image for image in dataset.coco.images if os.path.isfile(image.path)][:COMPARED_IMAGES]
        if found:
            return [read_coco_image(image) for image in found], "images of val_dataset"
    random = np.random.RandomState(0)
    blocks = [random.randint(0, 256, size, np.uint8) for size in ((8, 12, 3), (11, 7, 3))]
    return [resize_pixels(image, *(30 * side for side in image.shape[:2])) for image in blocks], "random images"
