"""What a data set with a reader of its own says of a file that it cannot read."""

import struct

import pytest

from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg.datasets import read_sample


class OwnReader:
    ignore_index = 255
    num_classes = 2

    def __init__(self, path):
        self.file_list = [[str(path)]]

    def __getitem__(self, index):
        raise RuntimeError("its reader fails")


def test_an_image_that_claims_a_size_beyond_opencvs_limits_is_one_line(tmp_path):
    size = struct.pack("<iiHH", 1, 2**24, 1, 24)
    picture = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<I", 40) + size + bytes(24)
    (tmp_path / "a.bmp").write_bytes(picture)
    with pytest.raises(UsageError, match=r"cannot read .*a\.bmp"):
        read_sample(OwnReader(tmp_path / "a.bmp"), 0)
