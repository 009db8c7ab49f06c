"""Draws image, truth, coarse and refined prediction of the val image whose boundary IoU refinement raises most.

    python scripts/comparison_picture.py --config configs/facades/pointrend_semantic_fpn_resnet18_stride8.yml \
        --model_path output/facades/iter_1500/model.pdparams --output output/facades/comparison.png

The config's model is a PointRendSeg, and its val transforms keep the images' size. Below each picture is the window
where refinement corrects most pixels. Says which image it is and what the two predictions of it score.
"""

import argparse
import os
import pathlib
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import cv2
import paddle
from measuring.tables import percent, scores_of
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


def scores(sample: Sample, num_classes: int) -> list[dict[str, float | None]]:
    """Measures the coarse and the refined prediction of one image: mIoU and boundary IoU."""
    metrics = [SegmentationMetrics(num_classes) for _ in range(2)]
    for metric, labels in zip(metrics, (sample.coarse, sample.refined)):
        metric.update(labels, sample.truth)
    return [scores_of(metric) for metric in metrics]


def boundary_gain(sample: Sample, num_classes: int) -> float:
    """Boundary IoU of the refined prediction minus that of the coarse one; below all others where there is none."""
    coarse, refined = (score["boundary_iou"] for score in scores(sample, num_classes))
    return -1.0 if coarse is None or refined is None else refined - coarse


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output/comparison.png"))
    parser.add_argument("--panel_width", type=int, default=320, help="pixels of each of the four, default: 320")
    args = parser.parse_args(argv)
    config = load_config(args.config, opts=args.opts)
    model = load_model(config, args.model_path)
    dataset = build(SegBuilder(config), args.config, "val_dataset")
    samples = (predict_sample(model, dataset, i) for i in tqdm(range(len(dataset)), unit="image"))
    best = max(samples, key=lambda sample: boundary_gain(sample, dataset.num_classes))
    figure = comparison_figure(best, default_palette(dataset.num_classes), panel_width=args.panel_width)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.output, cv2.imencode(".png", figure[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())
    coarse, refined = scores(best, dataset.num_classes)
    for title, name in (("mIoU", "miou"), ("boundary IoU", "boundary_iou")):
        print(f"{title}: {percent(coarse[name])} coarse, {percent(refined[name])} refined")
    print(f"wrote {args.output}: of {len(dataset)} images {best.name}, whose boundary IoU gains most")


if __name__ == "__main__":
    main()
