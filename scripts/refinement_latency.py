"""Measures what PointRend adds to a model's time: coarse and refined network, run alternately in one process.

    python scripts/refinement_latency.py --config CONFIG.yml --model_path WEIGHTS.pdparams --size 360 480
    python scripts/refinement_latency.py --config CONFIG.yml --runtime onnxruntime --output label

The coarse network upsamples to the image's size itself, in its time. Prints the median and the quartiles of each,
and of the ratios of neighbouring runs. One image; without --model_path the weights are random, which take as long.
"""

import argparse
import functools
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import paddle
from measuring.arguments import positive_int
from measuring.exports import export_coarse
from measuring.timing import alternate, quartiles
from paddleseg.cvlibs import SegBuilder

from paddle_pointrend import PointRendSeg
from paddle_pointrend.deploy.export import OUTPUTS, export_model
from paddle_pointrend.deploy.runtimes import RUNTIMES, load_runtime
from paddle_pointrend.paddleseg import build, load_config, load_model
from paddle_pointrend.paddleseg.configs import drop_pretrained

Predict = Callable[[Any], Any]


def network(args: argparse.Namespace) -> PointRendSeg:
    """Builds the config's model, trained or as it starts, in eval mode."""
    if args.model_path:
        return load_model(args.config, args.model_path, opts=args.opts)
    config = load_config(args.config, opts=args.opts)
    drop_pretrained(config.dic["model"])
    paddle.seed(0)
    model = build(SegBuilder(config), args.config, "model")
    model.eval()
    return model


def eager(model: PointRendSeg, output: str) -> tuple[Predict, Predict]:
    """Makes (image -> coarse prediction, image -> refined one)."""
    if output == "logits":
        return lambda image: model.segment(image)[0][0], lambda image: model(image)[0]
    return lambda image: model.segment(image)[0][0].argmax(axis=1), model.predict_labels


def exported(model: PointRendSeg, output: str, runtime: str, folder: pathlib.Path) -> tuple[Predict, Predict]:
    """Makes what `eager` does, of images in memory."""
    options = {"format": RUNTIMES[runtime].format, "output": output}
    export_coarse(model, folder / "coarse", **options)
    export_model(model, folder / "refined", **options)
    load = functools.partial(load_runtime, runtime, num_threads=os.cpu_count())
    return load(folder / "coarse"), load(folder / "refined")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path")
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--runtime", choices=RUNTIMES, default="paddle")
    parser.add_argument("--output", choices=OUTPUTS, default="logits")
    parser.add_argument("--size", type=positive_int, nargs=2, metavar=("H", "W"), default=(512, 1024))
    parser.add_argument("--rounds", type=positive_int, default=15)
    args = parser.parse_args(argv)
    model = network(args)
    paddle.seed(0)
    image = paddle.randn([1, 3, *args.size])
    with tempfile.TemporaryDirectory() as folder, paddle.no_grad():
        if args.runtime == "paddle":
            coarse, refined = eager(model, args.output)
        else:
            coarse, refined = exported(model, args.output, args.runtime, pathlib.Path(folder))
            image = image.numpy()
        # Runtimes compile for a size when it comes the third time.
        seconds = alternate([lambda: coarse(image), lambda: refined(image)], args.rounds, warmup=3)
    device = paddle.get_device() if args.runtime == "paddle" else "cpu"
    print(f"{args.size[0]}x{args.size[1]}, {args.output}, {args.runtime}, {args.rounds} rounds, {device}")
    print(f"coarse alone:    {quartiles(seconds[:, 0])} s, median (quartiles)")
    print(f"with refinement: {quartiles(seconds[:, 1])} s")
    print(f"ratio:           {quartiles(seconds[:, 1] / seconds[:, 0])}")


if __name__ == "__main__":
    main()
