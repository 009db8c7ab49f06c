"""safetensors, and files of weights that are something else."""

import os

import numpy as np
import paddle
import pytest
from checkpoint_attacks import WEIGHTS, assert_equal, assert_refused, torch_save, torch_weights, write_pickle

from paddle_pointrend.convert.checkpoint_files import read_tensors


def test_safetensors_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    flags = {"flag": np.array([True, False]), "half": np.ones(2, "float16"), "double": np.ones((2, 1))}
    save_file({**WEIGHTS, **flags}, tmp_path / "a.safetensors", metadata={"format": "np"})
    found = read_tensors(tmp_path / "a.safetensors")
    flags["half"], flags["double"] = np.ones(2, "float32"), np.ones((2, 1), "float32")
    expected = {**WEIGHTS, **flags}
    assert_equal({name: found[name] for name in expected}, expected)
    assert len(found) == len(expected)
    os.rename(tmp_path / "a.safetensors", tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth").keys() == expected.keys()


@pytest.mark.torch
def test_bfloat16_safetensors_are_read_and_float8_named(tmp_path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    values = torch.tensor([[0.1, -3], [1e30, float("inf")]]).bfloat16()
    save_file({"a": values}, tmp_path / "a.safetensors")
    assert_equal(read_tensors(tmp_path / "a.safetensors"), {"a": values.float().numpy()})
    save_file({"a": values.to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    assert_refused(tmp_path / "a.safetensors", "'a'")


def _whole_files(folder):
    yield write_pickle(folder / "a.pkl", {"model": WEIGHTS}, 3)
    yield torch_save(folder / "a.pth", {"state_dict": torch_weights()})
    yield torch_save(folder / "legacy.pth", torch_weights(), _use_new_zipfile_serialization=False)
    pytest.importorskip("safetensors.numpy").save_file(WEIGHTS, folder / "a.safetensors")
    yield folder / "a.safetensors"


@pytest.mark.torch
def test_truncated_files_are_refused(tmp_path):
    for path in _whole_files(tmp_path):
        data = path.read_bytes()
        assert_equal({name: read_tensors(path)[name] for name in WEIGHTS})
        for length in {*range(0, 40), *range(40, len(data), 61), *range(len(data) - 20, len(data))}:
            path.write_bytes(data[:length])
            assert_refused(path)


@pytest.mark.parametrize("suffix", ["pth", "pkl", "safetensors"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["empty"]),
        (b"\n<!DOCTYPE html><title>404</title>", ["web page", "download it again"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ["Git LFS pointer", "git lfs pull"]),
        (b"Not found, and some more text", ["expected a torch file"]),
    ],
)
def test_what_was_downloaded_instead_is_said(tmp_path, suffix, data, words):
    (tmp_path / f"a.{suffix}").write_bytes(data)
    assert_refused(tmp_path / f"a.{suffix}", *words)


def test_a_file_of_paddles_needs_no_conversion(tmp_path):
    paddle.save(paddle.nn.Linear(2, 2).state_dict(), str(tmp_path / "a.pdparams"))
    assert_refused(tmp_path / "a.pdparams", "a file of Paddle's, which needs no conversion: --model_path takes it")


def test_missing_files_and_folders_are_said(tmp_path):
    assert_refused(tmp_path / "none.pth", "no such file")
    assert_refused(tmp_path, "folder")


@pytest.mark.parametrize("content", [{}, {"model": {}}, [np.ones(1)], 5, None, np.ones(1)], ids=repr)
def test_a_file_without_tensors_is_refused(tmp_path, content):
    assert_refused(write_pickle(tmp_path / "a.pkl", content, 3), "expected")
