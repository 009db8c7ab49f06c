"""A folder as labelme leaves it, for tests of whole commands."""

import json

import numpy as np
from PIL import Image


def labelme_folder(folder, count=5, size=(48, 64)):
    """Photographs of grey with a bright roof and a dark door, and labelme's files beside them."""
    random_state = np.random.RandomState(0)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = random_state.randint(90, 120, (*size, 3)).astype(np.uint8)
        top, left = random_state.randint(0, 12, 2).tolist()
        corners = {"roof": (left, top, left + 30, top + 14), "door": (left + 8, top + 14, left + 16, top + 34)}
        shapes = []
        for value, (label, (x0, y0, x1, y1)) in zip((220, 30), corners.items()):
            pixels[y0 : y1 + 1, x0 : x1 + 1] = value
            points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
            shapes.append({"label": label, "points": points, "group_id": None, "shape_type": "polygon", "flags": {}})
        Image.fromarray(pixels).save(folder / f"house {number}.png")
        content = {"version": "5.7.0", "flags": {}, "shapes": shapes, "imagePath": f"house {number}.png"}
        content |= {"imageData": None, "imageHeight": size[0], "imageWidth": size[1]}
        (folder / f"house {number}.json").write_text(json.dumps(content))
    return folder
