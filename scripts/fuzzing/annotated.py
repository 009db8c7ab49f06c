"""Small sources as labelling tools leave them, for scripts/fuzz_inputs.py to damage, and `prepare` of them."""

from __future__ import annotations

import base64
import json
import pathlib
import random
import shutil

from fuzzing.mutations import WORDS, mutate_bytes, mutate_json, mutate_text
from paddle_pointrend import scenes

FORMS = ("labelme", "coco", "voc")
_COCO = pathlib.Path("data/annotations/instances_train.json")  # as the scenes have it, images beside it


def write_annotated(folder: pathlib.Path) -> None:
    """Writes the folders labelme/ and voc/, of the scenes in folder/data."""
    labels = {file.name.split("_gtFine")[0]: file for file in sorted(folder.glob("data/**/*labelTrainIds.png"))}
    images = {file.name.split("_left")[0]: file for file in sorted(folder.glob("data/leftImg8bit/**/*.png"))}
    for name in ("labelme", "voc/JPEGImages", "voc/SegmentationClass", "voc/ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    mask = base64.b64encode(next(iter(labels.values())).read_bytes()).decode()
    shapes = [
        {"label": "a", "points": [[1, 1], [40, 3.5], [20, 50]], "shape_type": "polygon"},
        {"label": "b", "points": [[30, 30], [40, 30]], "shape_type": "circle"},
        {"label": "a", "points": [[30, 30], [60, 50]], "shape_type": "rectangle", "group_id": None, "flags": {}},
        {"label": "c", "points": [[0, 0], [63, 63]], "shape_type": "mask", "mask": mask},
        {"label": "c", "points": [[5, 5], [9, 60], [60, 9]], "shape_type": "linestrip"},
    ]
    for name, image in images.items():
        shutil.copy(image, folder / "labelme" / f"{name}.png")
        content = {"version": "5.7.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None}
        (folder / "labelme" / f"{name}.json").write_text(
            json.dumps({**content, "imageHeight": 64, "imageWidth": 64}, indent=1)
        )
        shutil.copy(image, folder / "voc/JPEGImages" / f"{name}.png")
        shutil.copy(labels[name], folder / "voc/SegmentationClass" / f"{name}.png")
    names = list(images)
    for split, part in (("train", names[:-1]), ("val", names[-1:])):
        (folder / f"voc/ImageSets/Segmentation/{split}.txt").write_text("\n".join(part) + "\n")
    (folder / "labels.txt").write_text("\n".join(scenes.CLASSES) + "\n")


def damage_annotated(folder: pathlib.Path, form: str, chance: random.Random) -> list[str]:
    """Damages one file of a source in `folder`, and returns the command that prepares it."""
    if form == "labelme":
        file = chance.choice(sorted((folder / "labelme").iterdir()))
        more = ["labelme"]
    elif form == "coco":
        file = folder / _COCO
        more = [str(_COCO), "--images", "data", *chance.choice([[], [], ["--instances"]])]
    else:
        files = [file for file in sorted(folder.glob("voc/**/*")) if file.is_file()]
        file = chance.choice([*files, folder / "labels.txt"])
        more = ["voc", "--labels", "labels.txt"]
    if file.suffix == ".json":
        file.write_bytes(mutate_json(file.read_text(), chance))
    elif file.suffix == ".txt":
        file.write_bytes(mutate_text(file.read_text(), chance, chance.choice(WORDS)))
    else:
        file.write_bytes(mutate_bytes(file.read_bytes(), chance))
    return ["prepare", "--from", form, *more, "prepared"]
