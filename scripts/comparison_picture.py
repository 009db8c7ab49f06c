"""Draws image, truth, coarse and refined prediction of the val image whose boundaries refinement improves most.

    python scripts/comparison_picture.py --config configs/facades/pointrend_semantic_fpn_resnet18_stride8.yml \
        --model_path output/facades/iter_1500/model.pdparams --output output/facades/comparison.png

Images are ranked by what refinement adds to their boundary IoU, the boundaries of all classes counted together (in a
single image the rarest classes decide a mean over the classes); the first five are printed. --image draws another.
Below each picture is the window where refinement corrects most pixels. The config's model is a PointRendSeg whose val
transforms keep the size.
"""

import argparse
import os
import pathlib
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import cv2
from measuring.networks import load_pointrend
from measuring.tables import percent
from paddleseg.datasets import Dataset
from tqdm import tqdm

from paddle_pointrend.data import default_palette
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import Sample, SegmentationMetrics, comparison_figure
from paddle_pointrend.files import write_whole
from paddle_pointrend.models.weights import CheckpointError
from paddle_pointrend.paddleseg.evaluation import trace_sample

SHOWN = 5


class BoundaryScore(NamedTuple):
    """Boundary IoU of one image, over the boundaries of all classes together."""

    image: int
    name: str
    coarse: float
    refined: float

    @property
    def gain(self) -> float:
        return self.refined - self.coarse

    def __str__(self) -> str:
        return f"image {self.image}, {self.name}: {percent(self.coarse)} coarse, {percent(self.refined)} refined"


def boundary_score(sample: Sample, dataset: Dataset, image: int) -> BoundaryScore:
    """Measures the coarse and the refined prediction of one image."""
    values = []
    for labels in (sample.coarse, sample.refined):
        metrics = SegmentationMetrics(dataset.num_classes, dataset.ignore_index)
        metrics.update(labels, sample.truth)
        state = metrics.state()
        values.append(float(state["boundary_intersection"].sum() / max(1, state["boundary_union"].sum())))
    return BoundaryScore(image, sample.name, *values)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output/comparison.png"))
    parser.add_argument("--image", type=int, metavar="N", help="draw line N of the val list, from 0, and rank nothing")
    parser.add_argument("--panel_width", type=int, default=320, help="pixels of each of the four, default: 320")
    args = parser.parse_args(argv)
    try:
        model, dataset = load_pointrend(args.config, args.model_path, args.opts)
    except (UsageError, CheckpointError) as error:
        parser.error(str(error))
    if args.image is not None and not 0 <= args.image < len(dataset):
        parser.error(f"--image {args.image}: val_dataset has {len(dataset)} images, counted from 0")
    images = range(len(dataset)) if args.image is None else [args.image]
    scores = [boundary_score(trace_sample(model, dataset, i), dataset, i) for i in tqdm(images, unit="image")]
    ranked = sorted(scores, key=lambda score: -score.gain)
    if args.image is None:
        print(f"{sum(score.gain > 0 for score in scores)} of {len(scores)} images gain boundary IoU, most of all")
        print("\n".join(f"  {score}" for score in ranked[:SHOWN]))
    chosen = trace_sample(model, dataset, ranked[0].image)
    figure = comparison_figure(chosen, default_palette(dataset.num_classes), panel_width=args.panel_width)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.output, cv2.imencode(".png", figure[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())
    reason = "gains most" if args.image is None else "chosen by --image"
    print(f"wrote {args.output}: {ranked[0]} ({reason})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
