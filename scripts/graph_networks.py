"""Compares GCUNet with PaddleSeg's networks of graphs, GloRe and GINet: parameters and time behind the backbone.

    python scripts/graph_networks.py --size 360x480

All three with their default widths behind maps of ResNet-50's shapes at output stride 8, filled with random numbers, in
evaluation in eager mode, timed alternately. Prints a Markdown table: median and quartiles of the milliseconds for one
image, and of the ratio to GCUNet's time.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import paddle
from measuring.arguments import image_size, positive_int
from measuring.timing import alternate, quartiles
from paddle import nn
from paddleseg.models import GINet, GloRe

from paddle_pointrend.models.segmentors import GCUNet


class ResNet50Shapes(nn.Layer):
    """Maps of the shapes of ResNet-50's at output stride 8, made for each size once."""

    feat_channels = (256, 512, 1024, 2048)
    strides = (4, 8, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[tuple, list] = {}

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        shape = tuple(x.shape)
        if shape not in self.made:
            self.made[shape] = [
                paddle.rand([shape[0], channels, -(-shape[2] // stride), -(-shape[3] // stride)])
                for channels, stride in zip(self.feat_channels, self.strides)
            ]
        return self.made[shape]


def networks(num_classes: int) -> dict[str, nn.Layer]:
    """Builds the three networks, each on shapes of its own."""
    return {
        "GCUNet": GCUNet(num_classes, ResNet50Shapes()),
        "GloRe": GloRe(num_classes, ResNet50Shapes(), enable_auxiliary_loss=False),
        "GINet": GINet(num_classes, ResNet50Shapes(), enable_auxiliary_loss=False),
    }


def millions_of_parameters(network: nn.Layer) -> float:
    """Counts what training changes, without heads of auxiliary losses."""
    named = network.named_parameters()
    return sum(p.size for name, p in named if not p.stop_gradient and "auxlayer" not in name) / 1e6


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=image_size, default=(360, 480), help="HEIGHTxWIDTH, default: 360x480")
    parser.add_argument("--num_classes", type=positive_int, default=11)
    parser.add_argument("--rounds", type=positive_int, default=15)
    args = parser.parse_args(argv)
    paddle.seed(0)
    built, image = networks(args.num_classes), paddle.zeros([1, 3, *args.size])
    for network in built.values():
        network.eval()
    with paddle.no_grad():
        seconds = alternate([lambda network=network: network(image) for network in built.values()], args.rounds)
    print("| network | parameters behind the backbone, millions | milliseconds | ratio to GCUNet |\n|---|---|---|---|")
    for i, (name, network) in enumerate(built.items()):
        count, ratio = millions_of_parameters(network), seconds[:, i] / seconds[:, 0]
        print(f"| {name} | {count:.2f} | {quartiles(1000 * seconds[:, i])} | {quartiles(ratio)} |")


if __name__ == "__main__":
    main()
