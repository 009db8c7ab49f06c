"""The reader without torch: the same arrays as torch's, and nothing in a file is executed."""

import pickle

import numpy as np
import pytest
from checkpoint_attacks import WEIGHTS, assert_equal, attacks, torch_save, torch_weights

from paddle_pointrend.convert.checkpoint_files import UntrustedFileError
from paddle_pointrend.convert.legacy_torch_files import read_legacy_torch

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def write(path, *parts):
    """A file of pickles that begins as torch's do."""
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in (MAGIC_NUMBER, 1001, MACHINE, *parts)))
    return path


def assert_refused(path, *words):
    with pytest.raises(UntrustedFileError) as error:
        read_legacy_torch(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    assert all(word in message for word in words), message


def legacy(path, content):
    return torch_save(path, content, _use_new_zipfile_serialization=False)


@pytest.mark.torch
def test_a_state_dict_is_read_as_torch_reads_it(tmp_path):
    assert_equal(read_legacy_torch(legacy(tmp_path / "a.pth", torch_weights())), WEIGHTS)


@pytest.mark.torch
def test_views_of_one_storage(tmp_path):
    torch = pytest.importorskip("torch")
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    views = {"turned": whole.t(), "part": whole[1:3, ::2], "row": whole[3]}
    found = read_legacy_torch(legacy(tmp_path / "a.pth", views))
    assert_equal(found, {name: view.contiguous().numpy() for name, view in views.items()})


@pytest.mark.torch
def test_modules_of_a_state_dict_do_not_disturb(tmp_path):
    torch = pytest.importorskip("torch")
    state = torch.nn.BatchNorm2d(3).state_dict()  # an OrderedDict with an attribute
    found = read_legacy_torch(legacy(tmp_path / "a.pth", state))
    assert_equal(found, {name: tensor.numpy() for name, tensor in state.items()})


@pytest.mark.torch
def test_a_view_beyond_its_storage_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    data = legacy(tmp_path / "a.pth", {"weight": torch.ones(7)}).read_bytes()
    shape = b"K\x07\x85"  # (7,), which stands before the strides
    assert data.count(shape) == 1
    (tmp_path / "a.pth").write_bytes(data.replace(shape, b"K\x09\x85"))
    assert_refused(tmp_path / "a.pth", "damaged")


@pytest.mark.torch
def test_a_file_that_ends_too_early_is_refused(tmp_path):
    data = legacy(tmp_path / "a.pth", torch_weights()).read_bytes()
    for length in (len(data) - 1, len(data) - 60, len(data) // 2, 10):
        (tmp_path / "a.pth").write_bytes(data[:length])
        assert_refused(tmp_path / "a.pth")


@pytest.mark.torch
def test_a_file_that_ends_in_the_length_of_an_empty_tensor_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    data = legacy(tmp_path / "a.pth", {"empty": torch.ones(0)}).read_bytes()
    (tmp_path / "a.pth").write_bytes(data[:-1])
    assert_refused(tmp_path / "a.pth", "ends too early")


@pytest.mark.torch
def test_other_tensors_and_other_formats_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    assert_refused(legacy(tmp_path / "a.pth", {"a": torch.ones(2, dtype=torch.complex64)}), "torch.ComplexFloatStorage")
    assert_refused(legacy(tmp_path / "a.pth", {"a": {"b": torch.ones(2)}}), "'a' is not a tensor")
    assert_refused(torch_save(tmp_path / "a.pth", torch_weights()))


@pytest.mark.parametrize("place", ["content", "prelude", "keys"])
def test_nothing_is_executed(tmp_path, place):
    for name, attack in attacks(tmp_path / "marker").items():
        parts = {"content": [{"weight": attack}], "prelude": [], "keys": [{}, attack]}[place]
        path = write(tmp_path / "a.pth", *parts)
        if place == "prelude":
            path.write_bytes(pickle.dumps(attack, 2))
        assert_refused(path, "refused: it asks for ")
        assert not (tmp_path / "marker").exists(), name


def test_no_torch_file_at_all(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps(7, 2))
    assert_refused(tmp_path / "a.pth", "no torch file")
    np.save(tmp_path / "b.npy", np.ones(3))
    assert_refused(tmp_path / "b.npy")
    assert_refused(tmp_path / "missing.pth")
