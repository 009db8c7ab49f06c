"""Torch files: every layout is read, nothing in them is executed."""

import collections
import os
import pickle
import sys

import numpy as np
import pytest
from checkpoint_attacks import (
    ATTACKS,
    WEIGHTS,
    assert_equal,
    assert_refused,
    attacks,
    pickled_call,
    torch_save,
    torch_weights,
    write_pickle,
)

from paddle_pointrend.convert.checkpoint_files import read_tensors


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_every_layout_are_read(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    weights = torch_weights()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1).state_dict()
    parameters = {name: torch.nn.Parameter(tensor, tensor.is_floating_point()) for name, tensor in weights.items()}
    layouts = [
        weights,
        parameters,
        {f"module.{name}": tensor for name, tensor in weights.items()},
        {"state_dict": weights, "meta": {"CLASSES": ("road",), "epoch": 3}, "optimizer": optimizer},
        {"model": weights, "optimizer": optimizer, "scheduler": {"base_lrs": [0.1]}, "iteration": 9},
    ]
    for content in layouts:
        assert_equal(
            read_tensors(torch_save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=zipped)), WEIGHTS
        )
    os.rename(tmp_path / "a.pth", tmp_path / "model_final.pkl")
    assert_equal(read_tensors(tmp_path / "model_final.pkl"))


@pytest.mark.torch
def test_torch_dtypes_become_float32_and_integers_stay(tmp_path):
    torch = pytest.importorskip("torch")
    values = torch.tensor([0.5, -3])
    dtypes = torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool
    found = read_tensors(torch_save(tmp_path / "a.pt", {str(dtype): values.to(dtype) for dtype in dtypes}))
    assert [array.dtype.name for array in found.values()] == ["float32"] * 3 + ["int8", "bool"]
    for name in map(str, dtypes[:3]):
        np.testing.assert_array_equal(found[name], [0.5, -3])


@pytest.mark.torch
def test_a_checkpoint_of_mmengine_is_read_without_mmengine(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("mmengine")
    _train_with_mmengine(torch, tmp_path)
    admitted = set(torch.serialization.get_safe_globals())
    path = tmp_path / "epoch_2.pth"
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL"):
        torch.load(path, weights_only=True)
    for name in [name for name in sys.modules if name.split(".")[0] == "mmengine"]:
        monkeypatch.setitem(sys.modules, name, None)
    found = read_tensors(path)
    assert {name: array.shape for name, array in found.items()} == {
        "conv.weight": (2, 3, 1, 1),
        "conv.bias": (2,),
        "norm.weight": (2,),
        "norm.bias": (2,),
        "norm.running_mean": (2,),
        "norm.running_var": (2,),
        "norm.num_batches_tracked": (),
    }
    assert found["norm.num_batches_tracked"] == 4
    assert set(torch.serialization.get_safe_globals()) == admitted


def _train_with_mmengine(torch, folder):
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2)

        def forward(self, inputs, mode="tensor"):
            outputs = self.norm(self.conv(torch.stack(inputs)))
            return {"loss": outputs.square().mean()} if mode == "loss" else [outputs]

    class Images(torch.utils.data.Dataset):
        def __init__(self):
            self.metainfo = {"classes": ("road", "sky"), "palette": np.zeros((2, 3), np.uint8)}

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return {"inputs": torch.rand(3, 4, 4)}

    class Metric(BaseMetric):
        def process(self, batch, outputs):
            self.results.append(1)

        def compute_metrics(self, results):
            return {"mIoU": np.round(np.float32(50), 2)}

    data = {"batch_size": 2, "dataset": Images(), "sampler": {"type": "DefaultSampler", "shuffle": False}}
    hook = {"type": "CheckpointHook", "interval": 1, "save_best": "mIoU", "max_keep_ckpts": 1}
    runner = Runner(
        Model(),
        str(folder),
        train_dataloader=data,
        train_cfg={"by_epoch": True, "max_epochs": 2},
        val_dataloader=data,
        val_evaluator=[Metric()],
        val_cfg={},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        param_scheduler=[{"type": "PolyLR", "power": 0.9, "begin": 0, "end": 2}],
        default_hooks={"checkpoint": hook},
    )
    runner.train()


@pytest.mark.torch
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_torch_file_executes_nothing(tmp_path, name, zipped):
    pytest.importorskip("torch")
    marker = tmp_path / "marker"
    content = {"state_dict": torch_weights(), "meta": attacks(marker)[name]}
    path = torch_save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=zipped)
    assert_refused(path, f"{name.split()[0]}, ", "refused", "executed")
    assert not marker.exists()


@pytest.mark.torch
def test_getattr_which_mmengine_needs_gives_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    content = {"state_dict": torch_weights(), "meta": pickled_call(getattr, np.ndarray, "__subclasses__")}
    path = torch_save(tmp_path / "a.pth", content)
    assert_equal(read_tensors(path))
    with pytest.raises(pickle.UnpicklingError, match="getattr"):
        torch.load(path, weights_only=True)


@pytest.mark.torch
def test_the_legacy_prelude_executes_nothing(tmp_path):
    pytest.importorskip("torch")
    marker = tmp_path / "marker"
    path = torch_save(tmp_path / "a.pth", torch_weights(), _use_new_zipfile_serialization=False)
    magic = path.read_bytes()[:15]
    path.write_bytes(magic + pickle.dumps(attacks(marker)["builtins.exec"], 2) + path.read_bytes()[15:])
    assert_refused(path, "builtins.exec", "executed")
    assert_refused(write_pickle(tmp_path / "b.pth", attacks(marker)["builtins.exec"]), "exec", "executed")
    assert not marker.exists()


@pytest.mark.torch
def test_what_is_no_tensor_in_a_torch_file_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    for value in (
        1.5,
        np.ones(2),
        torch.ones(2).to_sparse(),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, device="meta"),
    ):
        assert_refused(torch_save(tmp_path / "a.pth", {"state_dict": {"odd.one": value}}), "'odd.one'")
    assert_refused(torch_save(tmp_path / "a.pth", torch.ones(2)), "a Tensor", "dict of tensors")
    assert_refused(torch_save(tmp_path / "a.pth", torch.nn.Linear(1, 1)), "torch.nn.modules.linear.Linear")
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "a.pth")
    assert_refused(tmp_path / "a.pth", "TorchScript")


@pytest.mark.torch
def test_attributes_of_a_tensor_hide_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    tensor = torch.ones(2)
    tensor.detach = tensor.numpy = tensor.float = collections.OrderedDict
    assert_equal(read_tensors(torch_save(tmp_path / "a.pth", {"a": tensor})), {"a": np.ones(2, "float32")})


@pytest.mark.parametrize("data", [b"PK\x03\x04rest", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"rest"])
def test_torch_is_asked_for_only_where_it_is_needed(tmp_path, monkeypatch, data):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(data)
    assert_refused(tmp_path / "a.pth", 'pip install -c constraints.txt -e ".[torch]"')
    assert_equal(read_tensors(write_pickle(tmp_path / "a.pkl", WEIGHTS, 3)))


@pytest.mark.torch
def test_an_old_torch_is_refused(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    path = torch_save(tmp_path / "a.pth", torch_weights())
    for version in ("2.9.1+cu128", "2.5.1", "1.13.0"):
        monkeypatch.setattr(torch, "__version__", version)
        assert_refused(path, version, "CVE-2026-24747", "2.10")
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+git")
    assert_equal(read_tensors(path))
