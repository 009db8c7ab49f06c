"""Measures time and peak memory of Predictor.predict_file on a picture of any size, from disk to disk.

    OMP_NUM_THREADS=1 python scripts/stream_large_image.py --size 20000 20000 --window 1024 1024

Without --model_path the network is a small random one, in eager Paddle: enough to see whether memory stays bounded, and
not a measure of speed. The pictures are written to a temporary folder (--folder) and deleted.
"""

import argparse
import pathlib
import resource
import tempfile
import time
import warnings

import numpy as np
import paddle
import rasterio
from paddle import nn
from paddle.nn import functional as F
from rasterio.errors import NotGeoreferencedWarning

from paddle_pointrend.deploy.predictor import Predictor


class SmallNetwork(nn.Layer):
    """Runs two convolutions at stride 8 and an upsampling: logits [N, K, H, W]."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2D(3, 16, 8, stride=8, padding=4), nn.ReLU(), nn.Conv2D(16, num_classes, 3, padding=1)
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.interpolate(self.layers(x), size=x.shape[2:], mode="bilinear")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs=2, type=int, default=[20000, 20000], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--window", nargs=2, type=int, default=[1024, 1024], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--layout", choices=["tiles", "stripes"], default="tiles", help="of the TIFF file that is read")
    parser.add_argument("--num_classes", type=int, default=19, help="of the random network")
    parser.add_argument("--model_path", help="an exported folder to predict with, by its fastest runtime")
    parser.add_argument("--folder", help="where to write the pictures; default: the system's temporary folder")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        source, target = pathlib.Path(folder) / "image.tif", pathlib.Path(folder) / "labels.tif"
        write_picture(source, args.size, args.layout)
        predictor = make_predictor(args)
        before, start = peak_memory(), time.perf_counter()
        predictor.predict_file(source, target)
        seconds = time.perf_counter() - start
        megapixels = args.size[0] * args.size[1] / 1e6
        print(f"{args.size[0]} x {args.size[1]}, {args.layout}, windows {args.window}, {predictor.runtime.name}")
        print(f"{seconds:.1f} s, {megapixels / seconds:.2f} megapixels a second")
        print(f"peak memory {peak_memory():.0f} MB, before the prediction {before:.0f} MB")
        print(f"read {source.stat().st_size / 1e6:.0f} MB, wrote {target.stat().st_size / 1e6:.0f} MB")


def write_picture(path: pathlib.Path, size: tuple[int, int], layout: str) -> None:
    """Writes coloured squares with noise, in bands of rows: the picture is never whole in memory here either."""
    width, height = size
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256} if layout == "tiles" else {"blockysize": 16}
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 3, "dtype": "uint8"}
    random_state = np.random.RandomState(0)
    noise = random_state.randint(0, 16, (3, 256, width)).astype(np.uint8)
    with rasterio.open(path, "w", **profile, **options, compress="deflate", zlevel=1, bigtiff="if_safer") as dataset:
        for y in range(0, height, 256):
            squares = random_state.randint(0, 240, (3, 1, -(-width // 256))).astype(np.uint8)
            rows = min(256, height - y)
            band = noise[:, :rows] + squares.repeat(256, axis=2)[:, :, :width]
            dataset.write(band, window=((y, y + rows), (0, width)))


def make_predictor(args: argparse.Namespace) -> Predictor:
    """Makes the predictor of --model_path, or of a small random network."""
    if args.model_path:
        return Predictor(args.model_path, window=args.window)
    paddle.seed(0)
    network = SmallNetwork(args.num_classes)
    return Predictor.from_model(network, mean=[127.5] * 3, std=[127.5] * 3, window=args.window)


def peak_memory() -> float:
    """Reads this process's largest resident set so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    main()
