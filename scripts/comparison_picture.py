"""Draws image, truth, coarse and refined prediction of the val image whose boundaries refinement improves most.

    python scripts/comparison_picture.py --config configs/facades/pointrend_semantic_fpn_resnet18_stride8.yml \
        --model_path output/facades/iter_1500/model.pdparams --output output/facades/comparison.png

Images are ranked by what refinement adds to their boundary IoU, the boundaries of all classes counted together (in a
single image the rarest classes decide a mean over the classes); --rank 2 draws the second. Below each picture is the
window where refinement corrects most pixels. The config's model is a PointRendSeg whose val transforms keep the size.
"""

import argparse
import os
import pathlib
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import cv2
import paddle
from measuring.arguments import positive_int
from measuring.tables import percent
from paddleseg.cvlibs import SegBuilder
from tqdm import tqdm

from paddle_pointrend import PointRendSeg
from paddle_pointrend.data import default_palette
from paddle_pointrend.evaluation import Sample, SegmentationMetrics, comparison_figure
from paddle_pointrend.files import write_whole
from paddle_pointrend.paddleseg import build, load_config, load_model


@paddle.no_grad()
def predict_sample(model: PointRendSeg, dataset: Any, index: int) -> Sample:
    """Predicts one image of the dataset, coarse and refined."""
    image_path, label_path = dataset.file_list[index]
    both = model.predict_both(paddle.to_tensor(dataset[index]["img"]).unsqueeze(0))
    coarse, refined = (logits.argmax(axis=1)[0].numpy() for logits in both)
    truth = cv2.imread(label_path, cv2.IMREAD_UNCHANGED)
    return Sample(pathlib.Path(image_path).name, cv2.imread(image_path)[..., ::-1], truth, coarse, refined)


def boundary_scores(sample: Sample, num_classes: int) -> tuple[float, float]:
    """Measures coarse and refined boundary IoU of one image, over the boundaries of all classes together."""
    values = []
    for labels in (sample.coarse, sample.refined):
        metrics = SegmentationMetrics(num_classes)
        metrics.update(labels, sample.truth)
        state = metrics.state()
        values.append(float(state["boundary_intersection"].sum() / max(1, state["boundary_union"].sum())))
    return values[0], values[1]


def boundary_gain(sample: Sample, num_classes: int) -> float:
    """Computes what refinement adds to the boundary IoU of one image."""
    coarse, refined = boundary_scores(sample, num_classes)
    return refined - coarse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output/comparison.png"))
    parser.add_argument("--rank", type=positive_int, default=1, help="1 for the image that gains most, the default")
    parser.add_argument("--panel_width", type=int, default=320, help="pixels of each of the four, default: 320")
    args = parser.parse_args(argv)
    config = load_config(args.config, opts=args.opts)
    model = load_model(config, args.model_path)
    dataset = build(SegBuilder(config), args.config, "val_dataset")
    samples = [predict_sample(model, dataset, i) for i in tqdm(range(len(dataset)), unit="image")]
    gains = [boundary_gain(sample, dataset.num_classes) for sample in samples]
    chosen = samples[sorted(range(len(samples)), key=lambda i: -gains[i])[min(args.rank, len(samples)) - 1]]
    figure = comparison_figure(chosen, default_palette(dataset.num_classes), panel_width=args.panel_width)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.output, cv2.imencode(".png", figure[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())
    coarse, refined = boundary_scores(chosen, dataset.num_classes)
    print(f"{sum(gain > 0 for gain in gains)} of {len(gains)} images gain boundary IoU")
    print(f"wrote {args.output}: {chosen.name}, rank {args.rank}, {percent(coarse)} coarse, {percent(refined)} refined")


if __name__ == "__main__":
    main()
