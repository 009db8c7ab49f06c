"""What an export says about its data: transforms, the names and colours of classes."""

import pytest

from paddle_pointrend.data import cityscapes
from paddle_pointrend.deploy.description import describe_data
from paddle_pointrend.errors import UsageError


def test_names_are_the_configs_or_cityscapes():
    transforms = [{"type": "Normalize"}]
    own = {"class_names": ["ground", "roof"], "val_dataset": {"type": "Dataset", "transforms": transforms}}
    assert describe_data(own) == {"transforms": transforms, "classes": ["ground", "roof"]}
    assert describe_data({}) == {"transforms": []}
    described = describe_data({"val_dataset": {"type": "Cityscapes"}})
    assert described["classes"] == cityscapes.CLASSES and described["palette"] is cityscapes.PALETTE
    renamed = [f"name {i}" for i in range(19)]
    assert describe_data({"class_names": renamed, "val_dataset": {"type": "Cityscapes"}})["classes"] == renamed


@pytest.mark.parametrize("transforms", [["Normalize"], {"type": "Normalize"}, [["type", "x"]], [{"mean": 1}], "x"])
def test_transforms_that_are_none_are_named(transforms):
    with pytest.raises(UsageError, match=r"val_dataset\.transforms is .*, expected a list of dicts with a type"):
        describe_data({"val_dataset": {"transforms": transforms}})
