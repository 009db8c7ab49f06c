"""Makes semantic labels of the building facades' COCO polygons, in the layout that configs/facades/ reads.

    python scripts/prepare_facades.py building-facade-segmentation data/facades

Reads COCO's own layout (annotations/instances_train.json, images/train/) and that of the published export
(train/_annotations.coco.json beside its photographs, valid/). Where objects overlap, smaller ones lie above larger
ones; what no polygon covers (most of it sky) is background, class 0. Photographs larger than --max_side are shrunk.

The objects themselves are written too, for networks of instances: annotations/instances_train.json and
instances_val.json in COCO's format, of ten categories, in pixels of what was written.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

CLASSES = (
    "background",
    "balcony-fence",
    "car",
    "facade",
    "fence",
    "non-building-infrastructure",
    "shop",
    "street",
    "traffic-infrastructure",
    "vegetation",
    "window",
)
BACKGROUND = 0


def paint_label(height, width, objects, class_ids, scale=1.0):
    """Paints one image's objects from the largest to the smallest.

    Args:
        height, width: size of the label.
        objects: COCO annotations with polygons, in pixels of the photograph.
        class_ids: dict from category_id to class.
        scale: label pixels a photograph's pixel.

    Returns:
        uint8 [height, width], BACKGROUND where no object is.

    Raises:
        ValueError: an object's mask is run-length encoded.
    """
    label = np.full((height, width), BACKGROUND, np.uint8)
    for item in sorted(objects, key=lambda item: -item["area"]):
        if not isinstance(item["segmentation"], list):
            raise ValueError(f"object {item['id']} has a run-length encoded mask, expected polygons")
        for ring in item["segmentation"]:
            # A pixel's centre is at + 0.5 in COCO's coordinates, at the integer in OpenCV's.
            corners = np.round(np.reshape(ring, (-1, 2)) * scale - 0.5).astype(np.int32)
            cv2.fillPoly(label, [corners], class_ids[item["category_id"]])
    return label


def scale_object(item, category_id, scale):
    """Returns an annotation in pixels of a photograph that was shrunk, with another category."""
    rings = [[side * scale for side in ring] for ring in item["segmentation"]]
    box = [side * scale for side in item["bbox"]]
    return {**item, "category_id": category_id, "segmentation": rings, "bbox": box, "area": item["area"] * scale**2}


def prepare_split(annotations, images, target, split, max_side):
    """Writes images and labels of one split; returns the lines of its list, and its objects in COCO's format."""
    coco = json.loads(annotations.read_text())
    class_ids = {category["id"]: CLASSES.index(category["name"]) for category in coco["categories"]}
    objects = defaultdict(list)
    for item in coco["annotations"]:
        objects[item["image_id"]].append(item)
    lines, instances = [], {"images": [], "annotations": []}
    for record in tqdm(sorted(coco["images"], key=lambda record: record["file_name"]), desc=split):
        image = cv2.imread(str(images / record["file_name"]))
        if image is None:
            raise ValueError(f"{images / record['file_name']} is missing or no image")
        scale = min(1.0, max_side / max(image.shape[:2]))
        height, width = (round(side * scale) for side in image.shape[:2])
        stem = Path(record["file_name"]).stem
        names = f"images/{split}/{stem}.png", f"labels/{split}/{stem}.png"
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
        if scale < 1:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(target / names[0]), image)
        cv2.imwrite(str(target / names[1]), paint_label(height, width, objects[record["id"]], class_ids, scale))
        lines.append(" ".join(names) + "\n")
        instances["images"].append({**record, "file_name": f"{stem}.png", "height": height, "width": width})
        for item in objects[record["id"]]:
            instances["annotations"].append(scale_object(item, class_ids[item["category_id"]], scale))
    instances["categories"] = [{"id": i, "name": name} for i, name in enumerate(CLASSES) if i != BACKGROUND]
    return lines, instances


def find_split(source, split):
    """The annotations' path and the photographs' folder of a split, in either layout.

    Raises:
        FileNotFoundError: neither is there.
    """
    exported = source / {"val": "valid"}.get(split, split)
    layouts = (
        (source / "annotations" / f"instances_{split}.json", source / "images" / split),
        (exported / "_annotations.coco.json", exported),
    )
    for annotations, images in layouts:
        if annotations.is_file():
            return annotations, images
    raise FileNotFoundError(f"{source} has neither " + " nor ".join(str(path) for path, _ in layouts))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the data set's folder")
    parser.add_argument("target", type=Path, help="the folder to write, data/facades")
    parser.add_argument("--max_side", type=int, default=384, help="longest side of what is written, default: 384")
    args = parser.parse_args(argv)
    try:
        splits = {split: find_split(args.source, split) for split in ("train", "val")}
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    for split, (annotations, images) in splits.items():
        lines, instances = prepare_split(annotations, images, args.target, split, args.max_side)
        (args.target / f"{split}.txt").write_text("".join(lines))
        (args.target / "annotations").mkdir(exist_ok=True)
        (args.target / "annotations" / f"instances_{split}.json").write_text(json.dumps(instances))
        print(f"{args.target / f'{split}.txt'}: {len(lines)} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
