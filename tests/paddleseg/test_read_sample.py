"""What is said of a sample that cannot be read, of data sets with a reader or a list of their own."""

import struct

import numpy as np
import paddle
import pytest
import yaml
from paddleseg.cvlibs import manager

from paddle_pointrend import evaluate, load_model
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation.metrics import SegmentationMetrics
from paddle_pointrend.paddleseg import load_config
from paddle_pointrend.paddleseg.datasets import StopOnError, read_sample
from paddle_pointrend.paddleseg.reporting import measure_run
from paddle_pointrend.paddleseg.training import train_model


class OwnReader:
    ignore_index = 255
    num_classes = 2

    def __init__(self, path):
        self.file_list = [[str(path)]]

    def __getitem__(self, index):
        raise RuntimeError("its reader fails")


class WithoutList(paddle.io.Dataset):
    """Makes its images itself, of one class; PaddleSeg's builder asks for the three constants."""

    NUM_CLASSES, IMG_CHANNELS, IGNORE_INDEX = 4, 3, 255

    def __init__(self, num_classes=4, mode="val", transforms=None, label=2):
        self.num_classes, self.ignore_index, self.label = num_classes, 255, label

    def __len__(self):
        return 2

    def __getitem__(self, index):
        size = 32 * (1 + index)
        label = np.full((1, size, size), self.label, np.int64)
        return {"img": np.ones((3, size, size), np.float32), "label": label, "trans_info": []}


@pytest.fixture
def without_list(trained, tmp_path):
    """A config whose data sets have no file_list."""
    content = yaml.safe_load(trained.config.read_text())
    content |= {part: {"type": "WithoutList"} for part in ("train_dataset", "val_dataset")}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(content))
    manager.DATASETS.components_dict["WithoutList"] = WithoutList
    yield load_config(tmp_path / "config.yml")
    del manager.DATASETS.components_dict["WithoutList"]


def test_an_image_that_claims_a_size_beyond_opencvs_limits_is_one_line(tmp_path):
    size = struct.pack("<iiHH", 1, 2**24, 1, 24)
    picture = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<I", 40) + size + bytes(24)
    (tmp_path / "a.bmp").write_bytes(picture)
    with pytest.raises(UsageError, match=r"cannot read .*a\.bmp"):
        read_sample(OwnReader(tmp_path / "a.bmp"), 0)


def test_a_data_set_without_a_list_is_measured(trained, varied_weights, without_list):
    model = load_model(without_list, varied_weights)
    expected = SegmentationMetrics(4, 255)
    for sample in map(WithoutList().__getitem__, range(2)):
        with paddle.no_grad():
            labels = model(paddle.to_tensor(sample["img"])[None])[0].argmax(axis=1)
        expected.update(labels[0].numpy(), sample["label"][0])
    assert evaluate(without_list, model, progress=False)["refined"] == expected.summary()


def test_its_samples_are_named_by_their_number():
    with pytest.raises(UsageError, match=r"^sample 1 has labels \[7\], expected 0 to 3 or ignore_index 255"):
        read_sample(WithoutList(label=7), 1)
    filled_up = WithoutList(label=255)
    filled_up.ignore_index = 254
    with pytest.raises(UsageError, match=r"^sample 1 has labels \[255\], expected 0 to 3 or ignore_index 254"):
        read_sample(filled_up, 1)
    batches = StopOnError(WithoutList(), batch_size=2)
    batches[0]
    with pytest.raises(UsageError, match=r"sample 1 is \[3, 64, 64\] with .*, sample 0 is \[3, 32, 32\]"):
        batches[1]


def test_what_it_lacks_cannot_be_repeated(without_list, tmp_path):
    with pytest.raises(UsageError, match="--repeats repeats a dataset's file_list, which WithoutList lacks"):
        train_model(without_list, tmp_path, repeats=2)


def test_a_report_has_no_pictures_of_it(trained, varied_weights):
    with pytest.raises(UsageError, match="file_list, which WithoutList lacks"):
        measure_run(load_model(trained.config, varied_weights), WithoutList())
