"""Configs of instances: no loss of their own, data in COCO's format."""

import pytest
import yaml
from coco_files import write_coco

from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg.configs import build, is_instance_config, load_config, make_builder


def _write(tmp_path, **changes):
    root = write_coco(tmp_path / "data")
    dataset = {
        "type": "CocoInstances",
        "dataset_root": str(root),
        "annotations": "annotations.json",
        "images": "images",
        "short_sides": [32],
    }
    content = {
        "batch_size": 2,
        "iters": 3,
        "train_dataset": dataset,
        "val_dataset": dataset,
        "optimizer": {"type": "SGD", "momentum": 0.9},
        "lr_scheduler": {"type": "MultiStepDecay", "learning_rate": 0.02, "milestones": [2]},
        "model": {"type": "MaskRCNN", "num_classes": 2},
        **changes,
    }
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def test_a_config_of_instances_needs_no_loss(tmp_path):
    config = load_config(_write(tmp_path), opts=["val_dataset.short_sides=[64]"], learning_rate=0.1)
    assert is_instance_config(config)
    assert config.dic["lr_scheduler"]["learning_rate"] == 0.1
    dataset = build(make_builder(config), config.path, "val_dataset")
    assert dataset.num_classes == 2
    assert dataset.short_sides == [64]


def test_a_config_of_labels_still_needs_one(tmp_path, pointrend_config):
    assert not is_instance_config(load_config(pointrend_config))
    pointrend_config.write_text(pointrend_config.read_text().replace("loss:\n", "lost:\n"))
    with pytest.raises(UsageError, match="No loss specified"):
        load_config(pointrend_config)


@pytest.mark.parametrize("part", ["train_dataset", "optimizer", "lr_scheduler", "iters"])
def test_what_is_missing_is_named(tmp_path, part):
    with pytest.raises(UsageError, match=f"No {part} specified"):
        load_config(_write(tmp_path, **{part: None}))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("val_dataset.annotations=none.json", "none.json: cannot read this file: No such file or directory"),
        ("val_dataset.channels=GBR", "expected RGB or BGR"),
        ("val_dataset.side=3", "unexpected keyword argument 'side'"),
    ],
)
def test_a_wrong_data_set_is_one_line(tmp_path, option, words):
    config = load_config(_write(tmp_path), opts=[option])
    with pytest.raises(UsageError) as error:
        build(make_builder(config), config.path, "val_dataset")
    assert words in str(error.value)
    assert "val_dataset: " in str(error.value)
    assert "\n" not in str(error.value)
