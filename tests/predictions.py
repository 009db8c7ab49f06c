"""Runs predict in tests, on the case of the fixture `exported`, and reads what it writes."""

import cv2
import numpy as np
from command_line import run
from PIL import Image
from tiny_export import MEAN, STD

# The TinyNetwork's normalisation, for the config.
NORMALIZE = [
    "--opts",
    f"val_dataset.transforms=[{{'type':'Normalize','mean':{[m / 255 for m in MEAN]},'std':{[s / 255 for s in STD]}}}]",
]


def predict(exported, model_path, image_path, save_dir, *arguments):
    arguments = ["--model_path", model_path, "--image_path", image_path, "--save_dir", save_dir, *arguments]
    return run("predict", "--config", exported.config, *arguments)  # of two --config the last counts


def predicted(save_dir, name):
    return np.asarray(Image.open(save_dir / "pseudo_color_prediction" / name))


def pixels_of(path):
    return cv2.imread(str(path))[..., ::-1]
