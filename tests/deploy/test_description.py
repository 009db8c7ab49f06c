"""What an export says about its data: transforms, the names and colours of classes."""

from paddle_pointrend.data import cityscapes
from paddle_pointrend.deploy.description import describe_data


def test_names_are_the_configs_or_cityscapes():
    transforms = [{"type": "Normalize"}]
    own = {"class_names": ["ground", "roof"], "val_dataset": {"type": "Dataset", "transforms": transforms}}
    assert describe_data(own) == {"transforms": transforms, "classes": ["ground", "roof"]}
    assert describe_data({}) == {"transforms": []}
    described = describe_data({"val_dataset": {"type": "Cityscapes"}})
    assert described["classes"] == cityscapes.CLASSES and described["palette"] is cityscapes.PALETTE
    renamed = [f"name {i}" for i in range(19)]
    assert describe_data({"class_names": renamed, "val_dataset": {"type": "Cityscapes"}})["classes"] == renamed
