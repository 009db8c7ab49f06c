"""A small data set in COCO's format, written for tests: every form of mask, a crowd, an image without objects."""

import json
import pathlib

import cv2
import numpy as np

SQUARE = [8.0, 4.0, 24.0, 4.0, 24.0, 20.0, 8.0, 20.0]
CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "person"}]  # class 0 is the person


def run_lengths(mask):
    """COCO's uncompressed form, by hand: runs down the columns, the first of zeros."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def write_coco(root, change=None):
    """Writes images/ and annotations.json of three images into root; `change(content)` alters the JSON first."""
    root = pathlib.Path(root)
    (root / "images").mkdir(parents=True, exist_ok=True)
    sizes = {"a.png": (32, 48), "b.png": (48, 32), "empty.png": (32, 32)}
    random_state = np.random.RandomState(0)
    for name, (height, width) in sizes.items():
        cv2.imwrite(str(root / "images" / name), random_state.randint(0, 256, (height, width, 3), np.uint8))
    disc = np.hypot(*(np.mgrid[:48, :32] - np.array([24, 16])[:, None, None])) < 10
    crowd = np.zeros((32, 48), bool)
    crowd[20:, 30:] = True
    objects = [
        (1, 7, [8, 4, 16, 16], [SQUARE], 0),
        (1, 3, [30, 20, 18, 12], run_lengths(crowd), 1),
        (2, 3, [7, 15, 19, 19], run_lengths(disc), 0),
        (2, 3, [5, 5, 0, 10], [SQUARE], 0),  # a box without width
        (2, 7, [1, 1, 2, 2], [[1.0, 1.0, 3.0, 3.0]], 0),  # two corners cover nothing
    ]
    content = {
        "images": [
            {"id": i, "file_name": name, "height": height, "width": width}
            for i, (name, (height, width)) in enumerate(sizes.items(), start=1)
        ],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, "segmentation": mask, "iscrowd": crowd}
            for i, (image, category, box, mask, crowd) in enumerate(objects, start=10)
        ],
        "categories": CATEGORIES,
    }
    if change is not None:
        change(content)
    (root / "annotations.json").write_text(json.dumps(content))
    return root
