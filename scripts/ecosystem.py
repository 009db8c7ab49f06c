"""Shows that tools of others run what `paddle-pointrend export` wrote, and give the label map of our Predictor.

    paddle-pointrend export --config my.yml --model_path output/my/best_model --save_dir output/p --output label
    paddle-pointrend export --config my.yml --model_path output/my/best_model --save_dir output/o --output label \
        --format onnx
    python scripts/ecosystem.py output/p output/o street.png --paddleseg PaddleSeg --paddlex px/bin/python \
        --node_modules js/node_modules

Each tool is used where it is named: PaddleSeg's deploy/python/infer.py in a checkout of its repository (or by the
environment variable PADDLESEG), PaddleX 3 in an environment of its own, named by its Python (PADDLEX_PYTHON), ONNX
Runtime for JavaScript in a folder where `npm install onnxruntime-node onnxruntime-web` ran (NODE_MODULES). The exit
code is 1 if more than one label of a thousand differs, or a tool fails. docs/deployment.md says what was seen.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import yaml
from PIL import Image

from paddle_pointrend import Predictor
from paddle_pointrend.data.images import read_image
from paddle_pointrend.deploy.deploy_file import DeployFile

MOST_DIFFERENT = 1e-3
# PaddleX knows networks by names. This one's goes through the same code as any other of semantic segmentation.
BORROWED_NAME = "PP-LiteSeg-T"

# PaddleSeg's script on Paddle 3.3.1 for CPU: the pass that it enables is gone, and interpolation fails in oneDNN.
_INFER = """
import runpy, sys
from paddle import inference
enable = inference.Config.enable_mkldnn
def enable_without_placement(config):
    enable(config)
    config.delete_pass("onednn_placement_pass")
inference.Config.enable_mkldnn = enable_without_placement
inference.Config.enable_memory_optim = lambda config, *given: None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_PADDLEX = """
import sys
import numpy as np
from paddlex import create_model
model = create_model(model_name=sys.argv[1], model_dir=sys.argv[2], device="cpu", engine="paddle_static",
                     engine_config={"run_mode": "paddle"})
np.save(sys.argv[4], next(iter(model.predict(sys.argv[3])))["pred"][0])
"""


def with_paddleseg(repository, exported, image, folder):
    """Runs PaddleSeg's deploy/python/infer.py: labels [H, W]."""
    script = pathlib.Path(repository).resolve() / "deploy" / "python" / "infer.py"
    arguments = ["--config", exported / "deploy.yaml", "--image_path", image, "--save_dir", folder, "--device", "cpu"]
    _run([sys.executable, "-c", _INFER, script, *arguments, "--enable_mkldnn", "True", "--cpu_threads", "1"])
    return np.asarray(Image.open(folder / f"{image.stem}.png"))


def with_paddlex(python, exported, image, folder):
    """Runs PaddleX's create_model on a copy of the export with the files that it looks for: labels [H, W]."""
    write_inference_yml(exported, folder)
    _run([python, "-c", _PADDLEX, BORROWED_NAME, folder, image, folder / "labels.npy"])
    return np.load(folder / "labels.npy")


def write_inference_yml(exported, folder):
    """Copies a Paddle export under PaddleX's names, and writes its inference.yml."""
    deploy = DeployFile.read(exported)
    for name, target in ((deploy.deploy["model"], "inference.json"), (deploy.deploy["params"], "inference.pdiparams")):
        shutil.copy(exported / name, folder / target)
    normalize = next(transform for transform in deploy.transforms if transform["type"] == "Normalize")
    transforms = [{"mean": [0.5] * 3, "std": [0.5] * 3, **normalize}]
    content = {
        "Global": {"model_name": BORROWED_NAME},
        "Deploy": {"model": "inference.json", "params": "inference.pdiparams", "transforms": transforms},
    }
    (folder / "inference.yml").write_text(yaml.safe_dump(content))


def with_javascript(library, node_modules, exported, image, folder):
    """Runs ONNX Runtime for JavaScript in Node: labels [H, W]."""
    deploy, pixels = DeployFile.read(exported), read_image(image)
    job = {name: str(folder / name) for name in ("pixels", "labels")}
    (folder / "pixels").write_bytes(pixels.tobytes())
    job |= {"height": pixels.shape[0], "width": pixels.shape[1], "mean": deploy.mean, "std": deploy.std}
    (folder / "job.json").write_text(json.dumps(job))
    script = pathlib.Path(__file__).with_suffix(".mjs")
    _run(["node", script, library, node_modules, exported / "model.onnx", folder / "job.json"])
    return np.frombuffer((folder / "labels").read_bytes(), np.uint8).reshape(pixels.shape[:2])


def _run(command):
    """Runs a command; RuntimeError with the end of what it wrote if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip())[-2000:])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paddle", type=pathlib.Path, help="a folder of export --output label")
    parser.add_argument("onnx", type=pathlib.Path, help="a folder of export --output label --format onnx")
    parser.add_argument("image", type=pathlib.Path, help="a photograph")
    parser.add_argument("--paddleseg", default=os.environ.get("PADDLESEG"), help="a checkout of PaddleSeg")
    parser.add_argument("--paddlex", default=os.environ.get("PADDLEX_PYTHON"), help="a Python that has PaddleX 3")
    parser.add_argument("--node_modules", default=os.environ.get("NODE_MODULES"), help="with onnxruntime-node, -web")
    args = parser.parse_args(argv)
    tools = {
        "PaddleSeg deploy/python/infer.py": (args.paddleseg, with_paddleseg, args.paddle),
        "PaddleX create_model": (args.paddlex, with_paddlex, args.paddle),
    }
    for library in ("onnxruntime-node", "onnxruntime-web"):

        def run_library(*given, library=library):
            return with_javascript(library, *given)

        tools[library] = (args.node_modules, run_library, args.onnx)
    pixels, failed = read_image(args.image), False
    ours = {folder: np.asarray(Predictor(folder).predict(pixels)) for folder in (args.paddle, args.onnx)}
    for name, (place, run, exported) in tools.items():
        if not place:
            print(f"{name}: not named, not run")
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                labels = run(place, exported, args.image, pathlib.Path(folder))
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{name}: failed\n{error}")
                failed = True
                continue
        different = int((labels != ours[exported]).sum()) if labels.shape == ours[exported].shape else labels.size
        print(f"{name}: {different} of {labels.size} labels differ, {len(np.unique(labels))} classes")
        failed |= different > MOST_DIFFERENT * labels.size
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
