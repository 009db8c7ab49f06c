"""What PointRend adds to a model's time: the segmentor alone and with refinement, run alternately in one process.

    python scripts/refinement_latency.py --config CONFIG.yml --model_path WEIGHTS.pdparams --size 360 480

Prints the median and the quartiles of each, and of the ratios of neighbouring runs. Eager mode, one image.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import paddle
from timing import alternate, quartiles

from paddle_pointrend.cli.inference import load_trained_model


def measure(model, image, rounds):
    """Seconds, an array [rounds, 2]: the segmentor's forward pass, the model's."""
    return alternate([lambda: model.segment(image), lambda: model(image)], rounds)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(512, 1024))
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    _, _, model = load_trained_model(args)
    paddle.seed(0)
    with paddle.no_grad():
        seconds = measure(model, paddle.randn([1, 3, *args.size]), args.rounds)
    print(f"{args.size[0]}x{args.size[1]}, {args.rounds} rounds, {paddle.get_device()}; medians and quartiles")
    print(f"segmentor alone: {quartiles(seconds[:, 0])} s")
    print(f"with refinement: {quartiles(seconds[:, 1])} s")
    print(f"ratio:           {quartiles(seconds[:, 1] / seconds[:, 0])}")


if __name__ == "__main__":
    main()
