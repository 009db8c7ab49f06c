"""A config of a network of instances small enough for CPU tests, on the data set of coco_files."""

import yaml
from coco_files import write_coco

ROIS = {"anchor_sizes": [8, 16, 32, 64, 128], "pre_nms_top_n": [50, 50], "post_nms_top_n": [20, 20]}


def mask_head(kind):
    head = {"type": f"{kind}MaskHead", "num_classes": 2, "in_channels": 16}
    if kind == "Standard":
        return {**head, "channels": 8}
    return {**head, "coarse_head": {"channels": 8, "fc_channels": 16}, "point_head": {"hidden_channels": 16}}


def write_instance_config(folder, kind="PointRend", change=None, **model):
    """Writes data, and config.yml of a MaskRCNN with a "PointRend" or "Standard" mask head; returns its path."""
    dataset = {
        "type": "CocoInstances",
        "dataset_root": str(write_coco(folder / "data", change)),
        "annotations": "annotations.json",
        "images": "images",
        "short_sides": [32],
        "flip": True,
    }
    content = {
        "batch_size": 2,
        "iters": 4,
        "train_dataset": {**dataset, "short_sides": [32, 48]},
        "val_dataset": dataset,
        "optimizer": {"type": "SGD", "momentum": 0.9, "weight_decay": 0.0001},
        "lr_scheduler": {
            "type": "MultiStepDecay",
            "learning_rate": 0.01,
            "milestones": [2],
            "warmup_iters": 1,
            "warmup_start_lr": 0.001,
        },
        "model": {
            "type": "MaskRCNN",
            "num_classes": 2,
            "backbone": {"type": "ResNet18_vd", "output_stride": 32},
            "fpn_channels": 16,
            "rpn": ROIS,
            "box_head": {"fc_channels": 16, "score_threshold": 0.0, "max_detections": 10},
            "num_samples": 16,
            "mask_head": mask_head(kind),
            **model,
        },
    }
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
