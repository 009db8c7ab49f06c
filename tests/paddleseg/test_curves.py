"""The curves of trainings that were killed and went on."""

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
