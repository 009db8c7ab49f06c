"""Prepares Cityscapes for training: gtFine *_labelTrainIds.png from the polygons, and train.txt, val.txt, test.txt.

    pip install -e ".[cityscapes]"
    python scripts/prepare_cityscapes.py data/cityscapes
    python scripts/prepare_cityscapes.py data/cityscapes --instances

With --instances it writes annotations/instances_train.json and instances_val.json in COCO's format instead, from
gtFine's *_instanceIds.png; that needs no cityscapesscripts.

The folder must hold leftImg8bit/ and gtFine/ as unpacked from the archives of www.cityscapes-dataset.com. Label images
that exist already are kept, so that an interrupted run goes on where it stopped.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from paddle_pointrend.data.cityscapes import INSTANCE_CATEGORIES
from paddle_pointrend.data.instance_maps import coco_of_maps
from paddle_pointrend.errors import UsageError
from paddle_pointrend.files import write_whole

SPLITS = ("train", "val", "test")


def label_path(polygons: Path) -> Path:
    """Returns where the label image of a polygon file stands."""
    return polygons.with_name(polygons.name.replace("_polygons.json", "_labelTrainIds.png"))


def draw_label(polygons: Path) -> None:
    """Draws one *_polygons.json into its *_labelTrainIds.png, which appears only when it is complete."""
    from cityscapesscripts.preparation.json2labelImg import json2labelImg

    target = label_path(polygons)
    temporary = target.with_name(f".{os.getpid()}_{target.name}")
    json2labelImg(str(polygons), str(temporary), "trainIds")
    temporary.replace(target)


def list_lines(root: Path, split: str) -> Iterator[str]:
    """Yields lines "image label" of a split, relative to root; images alone where no label image stands beside."""
    for image in sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png")):
        name = image.name.replace("_leftImg8bit", "_gtFine_labelTrainIds")
        label = root / "gtFine" / split / image.parent.name / name
        line = image.relative_to(root).as_posix()
        yield f"{line} {label.relative_to(root).as_posix()}" if label.exists() else line


def write_lists(root: Path) -> None:
    """Writes train.txt, val.txt and test.txt."""
    for split in SPLITS:
        lines = list(list_lines(root, split))
        target = root / f"{split}.txt"
        temporary = target.with_suffix(".txt.part")
        temporary.write_text("".join(line + "\n" for line in lines))
        temporary.replace(target)
        print(f"{target}: {len(lines)} images")


def write_instances(root: Path) -> None:
    """Writes annotations/instances_train.json and instances_val.json: the 8 classes of the benchmark of instances."""
    (root / "annotations").mkdir(exist_ok=True)
    for split in ("train", "val"):
        images = root / "leftImg8bit" / split
        maps = []
        for image in sorted(images.glob("*/*_leftImg8bit.png")):
            name = image.name.replace("_leftImg8bit", "_gtFine_instanceIds")
            maps.append((image.relative_to(images).as_posix(), root / "gtFine" / split / image.parent.name / name))
        content = coco_of_maps(tqdm(maps, desc=split), INSTANCE_CATEGORIES)
        target = root / "annotations" / f"instances_{split}.json"
        write_whole(target, json.dumps(content).encode())
        print(f"{target}: {len(content['images'])} images, {len(content['annotations'])} objects")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder that holds leftImg8bit/ and gtFine/")
    parser.add_argument("--num_workers", type=int, default=os.cpu_count(), help="processes that draw labels")
    parser.add_argument("--instances", action="store_true", help="write the instances in COCO's format, no labels")
    args = parser.parse_args(argv)
    missing = [name for name in ("leftImg8bit", "gtFine") if not (args.root / name).is_dir()]
    if missing:
        print(
            f"{args.root} has no folder {' and no '.join(missing)}; unpack the archives there first",
            file=sys.stderr,
        )
        return 2
    if args.instances:
        try:
            write_instances(args.root)
        except UsageError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    polygons = sorted(args.root.glob("gtFine/*/*/*_gtFine_polygons.json"))
    waiting = [path for path in polygons if not label_path(path).exists()]
    if waiting:
        try:
            import cityscapesscripts  # noqa: F401
        except ImportError:
            print(
                'cityscapesscripts is needed: pip install -e ".[cityscapes]" -c constraints.txt',
                file=sys.stderr,
            )
            return 2
        with multiprocessing.Pool(max(1, args.num_workers)) as pool:
            list(tqdm(pool.imap_unordered(draw_label, waiting, chunksize=8), total=len(waiting), desc="labels"))
    print(f"{len(waiting)} label images drawn, {len(polygons) - len(waiting)} were there")
    write_lists(args.root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
