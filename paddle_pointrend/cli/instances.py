"""What train, val and predict do where the config's model finds instances."""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from paddleseg.cvlibs import Config
from paddleseg.utils import logger
from tqdm import tqdm

from paddle_pointrend.cli.common import make_save_dir
from paddle_pointrend.cli.prediction_files import find_inputs, network_fails, picture_file, write_picture
from paddle_pointrend.cli.reports import describe_run, finish_report, make_report_folder
from paddle_pointrend.data.found_instances import Instances
from paddle_pointrend.data.images import ImageError, read_image
from paddle_pointrend.deploy.deploy_file import is_exported
from paddle_pointrend.deploy.instance_predictor import InstancePredictor
from paddle_pointrend.deploy.runtimes import EagerRuntime
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.evaluation import instance_table
from paddle_pointrend.evaluation.instance_pictures import draw_instances, instance_colors, instance_labels
from paddle_pointrend.files import write_json
from paddle_pointrend.paddleseg.configs import make_builder
from paddle_pointrend.paddleseg.distributed import gather, rank_and_size
from paddle_pointrend.paddleseg.instance_data import build_instance_dataset, describe_images
from paddle_pointrend.paddleseg.instance_evaluation import evaluate_found
from paddle_pointrend.paddleseg.instance_prediction import instance_classes, predict_instances
from paddle_pointrend.paddleseg.instance_reporting import SHOWN_SCORE, measure_instances, write_instances_report
from paddle_pointrend.paddleseg.instance_training import train_instances
from paddle_pointrend.paddleseg.models import load_model

RESULTS = "predictions.json"
_TRAINING_OPTIONS = (
    "do_eval",
    "resume_model",
    "seed",
    "num_workers",
    "use_vdl",
    "save_interval",
    "log_iters",
    "keep_checkpoint_max",
)
_INFERENCE = {
    "scales": None,
    "flip_horizontal": False,
    "flip_vertical": False,
    "is_slide": False,
    "crop_size": None,
    "stride": None,
}
# Flags that say nothing to a network of instances, by command, and their values where they were not given.
_NOT_FOR_INSTANCES = {
    "train": {
        "use_ema": False,
        "precision": "fp32",
        "amp_level": "O1",
        "profiler_options": None,
        "repeats": 1,
        "to_static_training": False,
        "check_data": False,
    },
    "val": {"aug_eval": False, **_INFERENCE, "num_workers": 0, "check_data": False},
    "predict": {"aug_pred": False, **_INFERENCE, "custom_color": None, "precision": None},
}


def train(args: argparse.Namespace, config: Config) -> pathlib.Path:
    """Trains; returns the folder of the weights to evaluate."""
    _refuse_flags(args, "train")
    make_save_dir(args.save_dir)
    last = train_instances(config, args.save_dir, **{name: getattr(args, name) for name in _TRAINING_OPTIONS})
    best = pathlib.Path(args.save_dir) / "best_model"
    return best if args.do_eval and best.is_dir() else last


def val(args: argparse.Namespace, config: Config) -> dict[str, Any] | None:
    """Evaluates and prints the table; returns what --json holds beside the arguments, None but in the first process."""
    _refuse_flags(args, "val")
    network = _load_network(args, config)
    dataset = build_instance_dataset(make_builder(config), config, "val_dataset")
    measures = None
    if args.report:
        if isinstance(network, InstancePredictor):
            raise UsageError(f"--report shows trained weights (.pdparams), but {args.model_path} is exported")
        make_report_folder(args.report)
        measures = measure_instances(network, dataset)
    summaries = evaluate_found(_finder(network, dataset), dataset) if measures is None else measures.summaries
    if rank_and_size()[0] > 0:
        return None
    print(instance_table(summaries, dataset.coco.class_names))
    measured = {"images": len(dataset), "classes": dataset.coco.class_names, "predictions": summaries}
    if measures is not None:
        run = describe_run(args, len(dataset))
        finish_report(args, write_instances_report(args.report, network, dataset, measures, **run), measured)
    return measured


def predict(args: argparse.Namespace, config: Config | None) -> int:
    """Writes SAVE_DIR/predictions.json and pictures; returns the exit code, 1 if images were skipped.

    An exported folder needs no config; where there is one, its classes' names and ids are those of the results.
    """
    _refuse_flags(args, "predict")
    images, root = find_inputs(args.image_path, args.save_dir)
    make_save_dir(args.save_dir)
    network = _load_network(args, config, args.runtime)
    if config is None:
        dataset, names, category_ids = None, network.classes, network.category_ids
    else:
        dataset = describe_images(make_builder(config), config)
        names, category_ids = instance_classes(config, dataset)
    find = _finder(network, dataset)
    ids = _image_ids(images, dataset)
    rank, size = rank_and_size()
    results, broken = [], []
    for image in tqdm(images[rank::size], "predicting", unit="image", disable=rank > 0):
        try:
            pixels = read_image(image)
            found = find(pixels)
            file_name = os.path.relpath(image, root) if root else os.path.basename(image)
            results += [
                {"image_id": ids[image], "file_name": file_name, **result}
                for result in found.as_coco(ids[image], category_ids)
            ]
            write_picture(picture_file(args.save_dir, image, root), draw(pixels, found, names)[..., ::-1])
        except ImageError as error:
            broken.append(image)
            tqdm.write(f"skipped {image}: {error}")
    results, broken = ([item for part in gather(share) for item in part] for share in (results, broken))
    order = {ids[image]: position for position, image in enumerate(images)}
    results.sort(key=lambda result: order[result["image_id"]])
    if rank == 0:
        _write_results(pathlib.Path(args.save_dir) / RESULTS, results)
        logger.info(
            f"{len(results)} instances of {len(images) - len(broken)} images are in {args.save_dir}: {RESULTS}, and "
            f"pictures of those with a score of at least {SHOWN_SCORE} in added_prediction/"
        )
        if broken:
            logger.error(f"{len(broken)} of {len(images)} images were skipped: {', '.join(broken)}")
    return 1 if broken else 0


def _load_network(args, config, runtime=None):
    """The network of --model_path: a layer with trained weights, or the InstancePredictor of an exported folder."""
    if not (args.model_path and is_exported(args.model_path)):
        if runtime not in (None, EagerRuntime.name):
            raise UsageError(
                f"--runtime {runtime} runs exported networks of instances: give --model_path the folder that "
                "paddle-pointrend export wrote"
            )
        return load_model(config, args.model_path)
    if runtime == EagerRuntime.name:
        raise UsageError(f"--runtime paddle runs trained weights (.pdparams), but {args.model_path} is exported")
    try:
        predictor = InstancePredictor(args.model_path, runtime=runtime)
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    found = len(predictor.category_ids)
    expected = found if config is None else config.dic["model"].get("num_classes")
    if found != expected:
        raise UsageError(f"{args.model_path} has {found} classes, the model of --config {args.config} {expected}")
    logger.info(f"Runtime: {predictor.runtime}")
    return predictor


def _finder(network, dataset):
    """A function of an image's pixels to its Instances; ImageError where a runtime fails."""
    if not isinstance(network, InstancePredictor):
        return functools.partial(predict_instances, network, dataset)

    def find(pixels):
        try:
            return network.predict(pixels)
        except Exception as error:  # each runtime has exceptions of its own
            raise network_fails(error) from error

    return find


def draw(pixels: Any, instances: Instances, names: Sequence[str]) -> Any:
    """Draws the instances of at least SHOWN_SCORE over an image, uint8 [H, W, 3] in RGB."""
    count = int((instances.scores >= SHOWN_SCORE).sum())  # best first
    labels = instance_labels(instances.classes[:count], instances.scores, names)
    return draw_instances(
        pixels, instances.boxes[:count], instances.masks_one_by_one(count), labels, instance_colors(count)
    )


def _refuse_flags(args, command):
    source = args.model_path if args.config is None else f"--config {args.config}"
    for name, default in _NOT_FOR_INSTANCES[command].items():
        if getattr(args, name) != default:
            raise UsageError(f"--{name} is for networks of labels, but the model of {source} finds instances")


def _image_ids(images, dataset):
    """The ids that val_dataset has for the images if it has all of them, else their numbers from 1."""
    if dataset is not None and os.path.isfile(dataset.annotations):
        known = {os.path.realpath(image.path): image.id for image in dataset.coco.images}
        paths = [os.path.realpath(image) for image in images]
        if all(path in known for path in paths):
            return {image: known[path] for image, path in zip(images, paths)}
    return {image: number for number, image in enumerate(images, start=1)}


def _write_results(file, results):
    try:
        write_json(file, results)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
