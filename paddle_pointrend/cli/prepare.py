"""paddle-pointrend prepare: what a labelling tool wrote, as a data set to train on."""

from __future__ import annotations

import argparse
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from paddle_pointrend.cli.common import random_seed
from paddle_pointrend.data.annotations.coco import read_coco
from paddle_pointrend.data.annotations.dataset import Found, write_dataset
from paddle_pointrend.data.annotations.eiseg import read_eiseg
from paddle_pointrend.data.annotations.instance_dataset import write_instances
from paddle_pointrend.data.annotations.label_files import read_label_file
from paddle_pointrend.data.annotations.labelme import read_labelme
from paddle_pointrend.data.annotations.mask_rgb import read_mask_rgb
from paddle_pointrend.data.annotations.types import Annotations
from paddle_pointrend.data.annotations.voc import read_voc
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.tables import align_columns
from paddle_pointrend.files import whole_folder
from paddle_pointrend.paddleseg.own_configs import write_own_configs

# Those whose classes are names of objects, and those whose classes stand for values or colours of masks.
OBJECTS: dict[str, Callable[..., Annotations]] = {"labelme": read_labelme, "coco": read_coco}
MASKS: dict[str, Callable[..., Annotations]] = {"eiseg": read_eiseg, "mask-rgb": read_mask_rgb, "voc": read_voc}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", type=Path, help="the folder, or for labelme and coco a JSON file")
    add("output", metavar="OUT", type=Path, help="the folder to write; it is not there yet, or empty")
    add("--from", dest="form", required=True, choices=[*OBJECTS, *MASKS], help="what SOURCE is")
    add("--images", type=Path, metavar="FOLDER", help="where the images are, if not where SOURCE has them")
    add(
        "--labels",
        metavar="FILE",
        help="the classes in the order of their ids, one a line, for masks with colours as NAME R G B; "
        "default: those that SOURCE names",
    )
    add("--ignore", nargs="+", default=[], metavar="NAME", help="classes that are not judged: 255 in the labels")
    add(
        "--instances",
        action="store_true",
        help="with --from coco: write objects for networks of instances, not label maps",
    )
    add("--val_share", type=_share, default=0.2, help="share of the images that is held out, default: 0.2")
    add("--seed", type=random_seed, default=1, help="of the split into train and val, default: 1")


def run(args: argparse.Namespace) -> int:
    """Prepares; returns the exit code."""
    if not args.source.exists():
        raise UsageError(f"{args.source}: there is no such file or folder")
    if args.instances:
        return _prepare_instances(args)
    annotations = read_annotations(args)
    try:
        with (
            whole_folder(args.output) as folder,
            tqdm(total=len(annotations.images), desc=f"writing {args.output}", unit="image") as bar,
        ):
            options = {"val_share": args.val_share, "seed": args.seed}
            found = write_dataset(annotations, folder, **options, progress=lambda done: bar.update(done - bar.n))
            side = int(statistics.median(found.shorter_sides))
            configs = write_own_configs(folder, args.output, found.classes, side)
    except OSError as error:
        raise UsageError(f"{args.output}: cannot write this folder: {error.strerror}") from error
    print(describe(found))
    for sentence in (*annotations.notes, *found.warnings()):
        print(f"note: {sentence}")
    written = ["train.txt", "val.txt", "labels.txt", *configs]
    print(f"Wrote images/, labels/, {', '.join(written)} into {args.output}. To train on them:")
    config = shlex.quote(str(args.output / configs[1]))
    print(f"paddle-pointrend train --config {config} --save_dir output/semantic_fpn --do_eval --seed 1")
    return 0


def _prepare_instances(args):
    """Does the work of --instances; returns the exit code."""
    if args.form != "coco" or args.labels or args.ignore:
        raise UsageError("--instances goes with --from coco, without --labels and --ignore")
    options = {"images": args.images, "val_share": args.val_share, "seed": args.seed}
    try:
        with whole_folder(args.output) as folder, tqdm(desc=f"writing {args.output}", unit="image") as bar:
            found = write_instances(args.source, folder, **options, progress=lambda done: bar.update(done - bar.n))
    except OSError as error:
        raise UsageError(f"{args.output}: cannot write this folder: {error.strerror}") from error
    rows = [["", "train objects", "val objects"]]
    rows += [[name, *(str(found.objects[split][i]) for split in found.objects)] for i, name in enumerate(found.classes)]
    rows.append(["images", *map(str, found.images.values())])
    print("\n".join(align_columns(rows)))
    print(f"Wrote images/, annotations/instances_train.json and instances_val.json into {args.output}")
    return 0


def read_annotations(args: argparse.Namespace) -> Annotations:
    """Reads SOURCE with the reader of --from."""
    listed = read_label_file(args.labels) if args.labels else None
    options = {"images": args.images, "ignored": args.ignore}
    if args.form in OBJECTS:
        classes = None if listed is None else [entry.name for entry in listed]
        return OBJECTS[args.form](args.source, classes=classes, **options)
    if listed is None and args.form == "mask-rgb":
        raise UsageError("--from mask-rgb needs --labels FILE, with a line NAME R G B for each class")
    return MASKS[args.form](args.source, listed=listed, **options)


def describe(found: Found) -> str:
    """Writes the table of what was found: images of each class in train and val, and its share of all pixels."""
    total = max(1, int(found.pixels.sum()))
    rows = [["", "id", "train images", "val images", "% of pixels"]]
    for number, name in enumerate(found.classes):
        counts = (str(found.images[split][number]) for split in found.names)
        rows.append([name, str(number), *counts, f"{100 * found.pixels[number] / total:.2f}"])
    rows.append(["ignored", "255", "", "", f"{100 * found.pixels[-1] / total:.2f}"])
    rows.append(["all", "", *(str(len(names)) for names in found.names.values()), "100.00"])
    return "\n".join(align_columns(rows))


def _share(text):
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from error
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}")
    return value
