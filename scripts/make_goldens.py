"""Writes tests/goldens/*.npz: what the torch references give on random weights, for tests that have no torch.

    python scripts/make_goldens.py --detectron2 path/to/a/checkout

A file keeps the names and shapes of a reference's checkpoint; of every stage in evaluation and of every gradient of one
training step its deviation or norm and a few entries at random places; and both losses. The weights and the inputs are
not kept: torch_parity/random_weights.py and synthetic_data.py give them again.
"""

import argparse
import io
import json
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np
from torch_parity.detectron2_reference import Detectron2Reference
from torch_parity.mmseg_reference import MMSegReference
from torch_parity.random_weights import random_state
from torch_parity.randomness import places
from torch_parity.reference import Reference
from torch_parity.synthetic_data import random_coords, smooth_image, smooth_labels

from paddle_pointrend.files import write_whole

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens"
EVALUATED = {"even": (1, 96, 160), "odd": (2, 77, 109)}
TRAINED = (2, 96, 160)
ENTRIES = {"stage": 48, "gradient": 3, "points": 24, "channels": 4}


def golden(reference: Reference) -> dict[str, np.ndarray]:
    """Computes name -> array, what a file keeps."""
    arrays = {"shapes": packed({name: list(shape) for name, shape in reference.shapes().items()})}
    reference.load(random_state(reference.shapes(), 0))
    for title, shape in EVALUATED.items():
        stages = reference.evaluate(smooth_image(shape, 0))
        arrays |= {f"{title}.{name}": array for name, array in map_summaries(stages).items()}
        for step in steps_of(stages):
            chosen = some_points(step, stages)
            arrays |= {f"{title}.{step}.chosen": chosen, f"{title}.{step}.values": point_values(step, stages, chosen)}
    reference.load(random_state(reference.shapes(), 0, calm=True))
    losses, gradients = reference.train_step(*training_batch(reference.num_train_points, reference.num_classes))
    arrays["losses"] = np.array(losses, "float64")
    arrays["gradient_names"] = packed(list(gradients))
    arrays["gradients"] = np.stack([summary(name, g, ENTRIES["gradient"]) for name, g in gradients.items()])
    return arrays


def map_summaries(stages: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Summarises the stages that are maps: stage -> summary."""
    maps = {name: array for name, array in stages.items() if array.ndim == 4}
    summaries = {name: summary(name, array, ENTRIES["stage"]) for name, array in maps.items()}
    return summaries | {"argmax": np.bincount(stages["argmax"].ravel())}


def steps_of(stages: dict[str, np.ndarray]) -> list[str]:
    """Lists the steps of the refinement, in order."""
    return [name.partition(".")[0] for name in stages if name.endswith(".indices")]


def some_points(step: str, stages: dict[str, np.ndarray]) -> np.ndarray:
    """Takes some points that a step chose, image and index: int64 [points, 2]."""
    indices = np.sort(stages[f"{step}.indices"], axis=1)
    chosen = places(f"{step}.chosen", indices.size, ENTRIES["points"])
    return np.stack([chosen // indices.shape[1], indices.ravel()[chosen]], axis=1)


def point_values(step: str, stages: dict[str, np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Reads what a step has at given points: float32 [points, values], NaN where it did not choose them.

    Looked up by index, since the order of points that are unsure alike is arbitrary.
    """
    rows = []
    for image, index in chosen:
        found = np.flatnonzero(stages[f"{step}.indices"][image] == index)
        values = [stages[f"{step}.coords"][image, found]]
        for name in ("fine", "coarse", "logits"):
            array = stages[f"{step}.{name}"][image]
            channels = places(f"{step}.{name}", len(array), ENTRIES["channels"])
            values.append(array[channels][:, found].T)
        row = np.concatenate(values, axis=1)
        rows.append(row[0] if len(row) else np.full(row.shape[1], np.nan))
    return np.array(rows, "float32")


def training_batch(num_points: int, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws images, labels and points of the training step."""
    coords = random_coords(TRAINED[0], num_points, 0)
    return smooth_image(TRAINED, 0), smooth_labels(TRAINED, num_classes, 0), coords


def summary(name: str, array: np.ndarray, num_entries: int) -> np.ndarray:
    """Summarises an array, float32: mean, deviation and norm, then some of its entries."""
    entries = array.ravel()[places(name, array.size, num_entries)]
    figures = array.mean(dtype="float64"), array.std(dtype="float64"), np.linalg.norm(array.astype("float64"))
    return np.concatenate([figures, entries]).astype("float32")


def packed(content: object) -> np.ndarray:
    """Packs what json can write as uint8."""
    return np.frombuffer(zlib.compress(json.dumps(content).encode(), 9), "uint8")


def unpacked(array: np.ndarray) -> object:
    """Undoes `packed`."""
    return json.loads(zlib.decompress(array.tobytes()))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectron2", required=True, help="a checkout of detectron2")
    args = parser.parse_args(argv)
    references = {
        "mmseg_r50": lambda: MMSegReference("r50_cityscapes"),
        "mmseg_r101": lambda: MMSegReference("r101_cityscapes"),
        "detectron2_r101": lambda: Detectron2Reference(args.detectron2),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, build in references.items():
        file = io.BytesIO()
        np.savez_compressed(file, **golden(build()))
        write_whole(FOLDER / f"{name}.npz", file.getvalue())
        print(f"wrote {FOLDER / name}.npz, {len(file.getvalue()) / 1000:.1f} kB", flush=True)


if __name__ == "__main__":
    main()
