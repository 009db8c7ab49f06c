"""Mask AP and boundary AP over the masks' resolution and the points of each step: the paper's table on our weights.

    python scripts/mask_resolutions.py --config configs/nuclei/pointrend_rcnn_efficientnet_lite0.yml \
        --model_path output/nuclei_instances/iter_600/model.pdparams

Boxes are found once; each setting of the mask head predicts its masks for the same boxes. Prints a table and writes a
JSON file.
"""

import argparse
import os
import pathlib

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import paddle
from tqdm import tqdm

from paddle_pointrend.data.coco import read_coco_image
from paddle_pointrend.data.found_instances import Instances
from paddle_pointrend.data.instances import CocoInstances, pad_images
from paddle_pointrend.evaluation.instances import InstanceMetrics
from paddle_pointrend.files import write_json
from paddle_pointrend.models.instance import MaskRCNN, PointRendMaskHead
from paddle_pointrend.paddleseg import load_config, load_model
from paddle_pointrend.paddleseg.configs import make_builder
from paddle_pointrend.paddleseg.instance_data import build_instance_dataset

# Side of the masks, doublings of the coarse 7x7, points of each step.
SETTINGS = [(28, 2, 784), (56, 3, 784), (112, 4, 784), (224, 5, 196), (224, 5, 784), (224, 5, 3136)]


@paddle.no_grad()
def find(
    model: MaskRCNN, heads: list[PointRendMaskHead], dataset: CocoInstances, count: int | None
) -> list[list[dict]]:
    """Finds COCO's results of each head in the data set's first images."""
    results: list[list[dict]] = [[] for _ in heads]
    for image in tqdm(dataset.coco.images[:count], "images"):
        pixels = read_coco_image(image)
        images, sizes = pad_images([dataset.network_image(pixels)])
        levels, [(boxes, scores, classes)] = model.detect_boxes(paddle.to_tensor(images), [tuple(sizes[0])])
        for head, of_head in zip(heads, results):
            masks, _ = head.predict(levels, boxes, [len(boxes)], classes)
            found = Instances.resized(
                boxes.numpy(), scores.numpy(), classes.numpy(), {"": masks.numpy()}, sizes[0], pixels.shape[:2]
            )
            of_head += found.as_coco(image.id, dataset.coco.category_ids)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--opts", nargs="+", default=[], help="changes of the config")
    parser.add_argument("--images", type=int, help="measure so many of val_dataset's images; default: all")
    parser.add_argument("--output", default="output/mask_resolutions.json", type=pathlib.Path)
    args = parser.parse_args()
    config = load_config(args.config, args.opts)
    dataset = build_instance_dataset(make_builder(config), config, "val_dataset")
    models = []
    for _, steps, points in SETTINGS:
        changes = [f"model.mask_head.subdivision_steps={steps}", f"model.mask_head.num_subdivision_points={points}"]
        models.append(load_model(args.config, args.model_path, [*args.opts, *changes]))
    truth = dataset.coco.as_dict()
    measured = {image.id for image in dataset.coco.images[: args.images]}
    truth["images"] = [image for image in truth["images"] if image["id"] in measured]
    truth["annotations"] = [item for item in truth["annotations"] if item["image_id"] in measured]
    metrics = InstanceMetrics(truth)
    rows = []
    print("| masks | points a step | mask AP | boundary AP |\n|---|---|---|---|")
    for (side, _, points), results in zip(
        SETTINGS, find(models[0], [model.mask_head for model in models], dataset, args.images)
    ):
        summary = metrics.summary(results, ["mask", "boundary"])
        rows.append({"side": side, "points": points, **summary})
        scores = [100 * (summary[kind]["ap"] or 0) for kind in ("mask", "boundary")]
        print(f"| {side}x{side} | {round(points**0.5)}x{round(points**0.5)} | {scores[0]:.2f} | {scores[1]:.2f} |")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.output, {"images": len(measured), "model_path": args.model_path, "rows": rows})
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
