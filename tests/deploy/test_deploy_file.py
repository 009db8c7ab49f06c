"""deploy.yaml: what is written is read, and what transforms do to pixels."""

import numpy as np
import pytest

from paddle_pointrend.deploy.deploy_file import DeployFile, normalization

NORMALIZE = {"type": "Normalize", "mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.5]}


@pytest.mark.parametrize(("file_format", "output"), [("onnx", "logits"), ("paddle", "label")])
def test_what_is_written_is_read(tmp_path, file_format, output):
    transforms = [{"type": "RGBToBGR"}, NORMALIZE]
    written = DeployFile.for_export(
        format=file_format,
        output=output,
        classes=("kerb", "Stra\u00dfe"),
        palette=np.eye(2, 3, dtype=np.uint8),
        image_channels=3,
        transforms=transforms,
    )
    written.write(tmp_path)
    read = DeployFile.read(tmp_path)
    assert read == written
    assert (read.makes_labels, read.transforms, read.num_classes) == (output == "label", transforms, 2)
    text = (tmp_path / "deploy.yaml").read_text()
    keys = [line.split(":")[0] for line in text.splitlines() if line[0].isalpha()]
    assert keys == ["Deploy", "format", "output", "num_classes", "classes", "palette", "channels", "mean", "std"]


@pytest.mark.parametrize(
    ("transforms", "image_channels", "expected"),
    [
        ([], 3, ("rgb", [0, 0, 0], [1, 1, 1])),
        ([{"type": "Normalize"}], 4, ("rgb", [127.5] * 4, [127.5] * 4)),
        ([{"type": "RGBToBGR"}, NORMALIZE], 3, ("bgr", [51, 102, 153], [25.5, 51, 127.5])),
    ],
)
def test_normalization_is_that_of_the_transforms(transforms, image_channels, expected):
    found = normalization(transforms, image_channels)
    assert found["channels"] == expected[0]
    np.testing.assert_allclose(found["mean"], expected[1])
    np.testing.assert_allclose(found["std"], expected[2])
