"""The curves of trainings that were killed and went on."""

import pytest
from visualdl import LogWriter

from paddle_pointrend.paddleseg.curves import read_curves


def test_parts_are_put_together_and_half_a_record_spoils_its_own_file_alone(tmp_path):
    for name, iterations in (("vdlrecords.1.log", range(3)), ("vdlrecords.2.log", range(2, 5))):
        with LogWriter(logdir=str(tmp_path), file_name=name) as writer:
            for i in iterations:
                writer.add_scalar("Train/loss", float(i), i)
    assert read_curves(tmp_path) == {"loss": ([0, 1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0, 4.0])}
    first = tmp_path / "vdlrecords.1.log"
    first.write_bytes(first.read_bytes()[:-3])
    assert read_curves(tmp_path) == {"loss": ([2, 3, 4], [2.0, 3.0, 4.0])}


@pytest.mark.parametrize(
    ("tags", "refines", "names"),
    [
        (["loss", "loss_0", "loss_1"], True, ["loss on the coarse map", "loss on the points", "mIoU{}, refined"]),
        (["loss", "loss_0", "loss_1"], False, ["loss 1", "loss 2", "mIoU{}"]),
        (["loss", "loss_mask", "loss_cls"], True, ["loss cls", "loss mask", "loss", "mIoU{}, refined"]),
    ],
)
def test_curves_are_named_by_what_was_trained(tmp_path, tags, refines, names):
    with LogWriter(logdir=str(tmp_path)) as writer:
        for tag in (*(f"Train/{tag}" for tag in tags), "Evaluate/mIoU"):
            writer.add_scalar(tag, 1.0, 1)
    assert list(read_curves(tmp_path, refines=refines)) == [name.format(" on the val images") for name in names]
