"""Files of other frameworks: every format and layout is read, nothing in them is executed."""

import collections
import os
import pickle
import sys

import numpy as np
import pytest

from paddle_pointrend.convert.checkpoint_files import UntrustedFileError, read_tensors

_WEIGHTS = {
    "conv.weight": np.random.RandomState(0).standard_normal((4, 3, 2, 2)).astype("float32"),
    "bn.num_batches_tracked": np.array(7),
    "bn.bias": np.zeros(0, "float32"),
}


class _Rebuilt:
    """Pickled as what __reduce__ may return: a function, its arguments, a state, items."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def _call(function, *arguments):
    return _Rebuilt(function, arguments)


def _attacks(marker):
    """Name of the global -> an object whose unpickling would create the file `marker`."""
    code = f"open({str(marker)!r}, 'w').close()"
    shell = _call(os.system, f"touch {marker}")
    nested = np.empty(1, object)
    nested[0] = shell
    return {
        f"{os.name}.system": shell,
        "builtins.exec": _call(exec, code),
        "builtins.eval": _call(eval, code),
        f"{os.name}.system in an array": nested,
        f"{os.name}.system in a number": _call(np.core.multiarray.scalar, np.dtype("O"), shell),
        f"{os.name}.system as a dtype": _call(np.dtype, shell),
    }


_ATTACKS = [*_attacks("")]


def _assert_equal(found, expected=_WEIGHTS):
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape) and found[name].flags.writeable


def _assert_refused(path, *words):
    with pytest.raises(UntrustedFileError) as error:
        read_tensors(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert all(word in message for word in words), message


def _pickle(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def _torch_save(path, content, **options):
    torch = pytest.importorskip("torch")
    torch.save(content, path, **options)
    return path


def _torch_weights():
    torch = pytest.importorskip("torch")
    return collections.OrderedDict((name, torch.tensor(array)) for name, array in _WEIGHTS.items())


# --- pickles of detectron2 and Caffe2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_and_layout_are_read(tmp_path, protocol):
    layouts = [
        {"model": _WEIGHTS, "__author__": "someone", "matching_heuristics": True},
        {"blobs": {**_WEIGHTS, "conv_w_momentum": np.ones(2)}, "cfg": "TRAIN: {}"},
        {**_WEIGHTS, "conv_w_momentum": np.ones(2)},
        collections.OrderedDict(_WEIGHTS),
    ]
    for content in layouts:
        _assert_equal(read_tensors(_pickle(tmp_path / "R-101.pkl", content, protocol)))


def test_a_pickle_of_python_2_is_read(tmp_path):
    array = (  # numpy.array([1.5, -2], "f4") as Python 2 wrote it: names and data are str
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\xc0?\\x00\\x00\\x00\\xc0'\ntb"
    )
    (tmp_path / "R-101.pkl").write_bytes(b"(dS'blobs'\n(dS'conv1_w'\n" + array + b"ss.")
    _assert_equal(read_tensors(tmp_path / "R-101.pkl"), {"conv1_w": np.array([1.5, -2], "float32")})


def test_a_pickle_of_numpy_2_is_read(tmp_path):
    data = pickle.dumps(_WEIGHTS, 2)
    assert b"cnumpy.core." in data
    (tmp_path / "a.pkl").write_bytes(data.replace(b"cnumpy.core.", b"cnumpy._core."))
    _assert_equal(read_tensors(tmp_path / "a.pkl"))


def test_floats_become_float32_and_integers_stay(tmp_path):
    content = {
        "half": np.ones((2, 3), "float16"),
        "double": np.full(2, 0.1),
        "big endian": np.arange(3, dtype=">f4"),
        "byte": np.arange(3, dtype="uint8"),
        "flag": np.array([True, False]),
        "scalar": np.float32(0.5),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(8, dtype=">i4")[::2],
    }
    dtypes = ["float32", "float32", "float32", "uint8", "bool", "float32", "float32", "int32"]
    expected = {name: np.array(content[name], dtype) for name, dtype in zip(content, dtypes)}
    for protocol in (2, 4, 5):
        _assert_equal(read_tensors(_pickle(tmp_path / "a.pkl", content, protocol)), expected)


def test_module_prefix_goes_only_if_all_have_it(tmp_path):
    one = np.ones(1, "float32")
    assert [*read_tensors(_pickle(tmp_path / "a.pkl", {"module.a": one, "module.b": one}))] == ["a", "b"]
    assert [*read_tensors(_pickle(tmp_path / "a.pkl", {"module.a": one, "b": one}))] == ["module.a", "b"]


@pytest.mark.parametrize("name", _ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_executes_nothing(tmp_path, name, protocol):
    marker = tmp_path / "marker"
    content = {"model": _WEIGHTS, "__author__": _attacks(marker)[name]}
    _assert_refused(_pickle(tmp_path / "a.pkl", content, protocol), f"{name.split()[0]}, ", "refused", "executed")
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"c__main__\n_Rebuilt\n.", id="a global of the program"),
        pytest.param(b"\x8c\x02os\x8c\x0dsystem.__call__\x93.", id="a dotted name"),
        pytest.param(b"(S'true'\nios\nsystem\n.", id="INST"),
        pytest.param(b"Pos.system\n.", id="a persistent id"),
        pytest.param(b"\x82\x01.", id="the extension registry"),
        pytest.param(b"cnumpy.core.multiarray\n_reconstruct\n}S'__init__'\nNsb.", id="an attribute of a class"),
        pytest.param(b"cnumpy\ndtype\n(N}S'__setstate__'\nNstb.", id="a slot of a class"),
        pytest.param(b"c\x1b[2Jevil\n\x07\n.", id="control characters"),
        pytest.param(b"\x80\x02]q\x00h\x00a0.", id="a list of itself"),
        pytest.param(b"(" * 100_000 + b"t" * 100_000 + b".", id="deep nesting"),
        pytest.param(b"\x80\x02}r" + b"\xff" * 4 + b".", id="a memo index beyond memory"),
        pytest.param(b"\x8e" + b"\xff" * 7 + b"\x7f" + b"data", id="a string longer than memory"),
    ],
)
def test_hostile_opcodes_are_refused(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    _assert_refused(tmp_path / "a.pkl")
    _assert_equal(read_tensors(_pickle(tmp_path / "b.pkl", _WEIGHTS, 3)))  # and the next file is read as ever


def test_attributes_of_an_ordered_dict_hide_nothing(tmp_path):
    rebuilt = collections.OrderedDict, (), {"get": 1, "items": 2, "_metadata": {}}, None, iter(_WEIGHTS.items())
    _assert_equal(read_tensors(_pickle(tmp_path / "a.pkl", _Rebuilt(*rebuilt), 3)))


@pytest.mark.parametrize("shape", [(2**40,), (2**62, 4), ("x",), (2, 2), 5])
def test_a_shape_that_does_not_fit_its_data_is_refused(tmp_path, shape):
    state = 1, shape, np.dtype("f4"), False, bytes(12)
    array = _Rebuilt(np.core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state)
    _assert_refused(_pickle(tmp_path / "a.pkl", {"a": array}), "cannot be read")


@pytest.mark.parametrize(
    "state", [("<", None, {"a": (np.dtype("O"), 0)}, 8, 8, 63), ("<f4,", None), ("S", None)], ids=repr
)
def test_the_state_of_a_dtype_reaches_no_dtype(tmp_path, state):
    dtype = _Rebuilt(np.dtype, ("f4", False, True), (3, *state))
    for protocol in (2, 5):
        array = _Rebuilt(np.core.multiarray.scalar, (dtype, b"\xff" * 8))
        _assert_refused(_pickle(tmp_path / "a.pkl", {"a": array}, protocol))


@pytest.mark.parametrize(
    "value",
    [1.5, "text", None, [1, 2], np.array([None, 1]), np.array(["a"]), np.zeros(2, "f4,i4"), np.complex64(1), {}],
    ids=repr,
)
def test_what_is_no_array_of_numbers_is_named(tmp_path, value):
    _assert_refused(_pickle(tmp_path / "a.pkl", {"model": {**_WEIGHTS, "odd.one": value}}, 3), "'odd.one'")
    _assert_refused(_pickle(tmp_path / "a.pkl", {**_WEIGHTS, 5: np.ones(1)}, 3), "<int>")


# --- torch files


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_every_layout_are_read(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    weights = _torch_weights()
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
        _assert_equal(
            read_tensors(_torch_save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=zipped)), _WEIGHTS
        )
    os.rename(tmp_path / "a.pth", tmp_path / "model_final.pkl")
    _assert_equal(read_tensors(tmp_path / "model_final.pkl"))


@pytest.mark.torch
def test_torch_dtypes_become_float32_and_integers_stay(tmp_path):
    torch = pytest.importorskip("torch")
    values = torch.tensor([0.5, -3])
    dtypes = torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool
    found = read_tensors(_torch_save(tmp_path / "a.pt", {str(dtype): values.to(dtype) for dtype in dtypes}))
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
@pytest.mark.parametrize("name", _ATTACKS)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_torch_file_executes_nothing(tmp_path, name, zipped):
    pytest.importorskip("torch")
    marker = tmp_path / "marker"
    content = {"state_dict": _torch_weights(), "meta": _attacks(marker)[name]}
    path = _torch_save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=zipped)
    _assert_refused(path, f"{name.split()[0]}, ", "refused", "executed")
    assert not marker.exists()


@pytest.mark.torch
def test_getattr_which_mmengine_needs_gives_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    content = {"state_dict": _torch_weights(), "meta": _call(getattr, np.ndarray, "__subclasses__")}
    path = _torch_save(tmp_path / "a.pth", content)
    _assert_equal(read_tensors(path))
    with pytest.raises(pickle.UnpicklingError, match="getattr"):
        torch.load(path, weights_only=True)


@pytest.mark.torch
def test_the_legacy_prelude_executes_nothing(tmp_path):
    pytest.importorskip("torch")
    marker = tmp_path / "marker"
    path = _torch_save(tmp_path / "a.pth", _torch_weights(), _use_new_zipfile_serialization=False)
    magic = path.read_bytes()[:15]
    path.write_bytes(magic + pickle.dumps(_attacks(marker)["builtins.exec"], 2) + path.read_bytes()[15:])
    _assert_refused(path, "builtins.exec", "executed")
    _assert_refused(_pickle(tmp_path / "b.pth", _attacks(marker)["builtins.exec"]), "exec", "executed")
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
        _assert_refused(_torch_save(tmp_path / "a.pth", {"state_dict": {"odd.one": value}}), "'odd.one'")
    _assert_refused(_torch_save(tmp_path / "a.pth", torch.ones(2)), "a Tensor", "dict of tensors")
    _assert_refused(_torch_save(tmp_path / "a.pth", torch.nn.Linear(1, 1)), "torch.nn.modules.linear.Linear")
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "a.pth")
    _assert_refused(tmp_path / "a.pth", "TorchScript")


@pytest.mark.torch
def test_attributes_of_a_tensor_hide_nothing(tmp_path):
    torch = pytest.importorskip("torch")
    tensor = torch.ones(2)
    tensor.detach = tensor.numpy = tensor.float = collections.OrderedDict
    _assert_equal(read_tensors(_torch_save(tmp_path / "a.pth", {"a": tensor})), {"a": np.ones(2, "float32")})


@pytest.mark.parametrize("data", [b"PK\x03\x04rest", pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"rest"])
def test_torch_is_asked_for_only_where_it_is_needed(tmp_path, monkeypatch, data):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pth").write_bytes(data)
    _assert_refused(tmp_path / "a.pth", 'pip install -e ".[torch]"')
    _assert_equal(read_tensors(_pickle(tmp_path / "a.pkl", _WEIGHTS, 3)))


@pytest.mark.torch
def test_an_old_torch_is_refused(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    path = _torch_save(tmp_path / "a.pth", _torch_weights())
    for version in ("2.9.1+cu128", "2.5.1", "1.13.0"):
        monkeypatch.setattr(torch, "__version__", version)
        _assert_refused(path, version, "CVE-2026-24747", "2.10")
    monkeypatch.setattr(torch, "__version__", "2.10.0a0+git")
    _assert_equal(read_tensors(path))


# --- safetensors


def test_safetensors_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    flags = {"flag": np.array([True, False]), "half": np.ones(2, "float16"), "double": np.ones((2, 1))}
    save_file({**_WEIGHTS, **flags}, tmp_path / "a.safetensors", metadata={"format": "np"})
    found = read_tensors(tmp_path / "a.safetensors")
    flags["half"], flags["double"] = np.ones(2, "float32"), np.ones((2, 1), "float32")
    expected = {**_WEIGHTS, **flags}
    _assert_equal({name: found[name] for name in expected}, expected)
    assert len(found) == len(expected)
    os.rename(tmp_path / "a.safetensors", tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth").keys() == expected.keys()


@pytest.mark.torch
def test_bfloat16_safetensors_are_read_and_float8_named(tmp_path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    values = torch.tensor([[0.1, -3], [1e30, float("inf")]]).bfloat16()
    save_file({"a": values}, tmp_path / "a.safetensors")
    _assert_equal(read_tensors(tmp_path / "a.safetensors"), {"a": values.float().numpy()})
    save_file({"a": values.to(torch.float8_e4m3fn)}, tmp_path / "a.safetensors")
    _assert_refused(tmp_path / "a.safetensors", "'a'")


def test_missing_safetensors_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "a.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    _assert_refused(tmp_path / "a.safetensors", "pip install safetensors")


# --- files that are something else


def _whole_files(folder):
    yield _pickle(folder / "a.pkl", {"model": _WEIGHTS}, 3)
    yield _torch_save(folder / "a.pth", {"state_dict": _torch_weights()})
    yield _torch_save(folder / "legacy.pth", _torch_weights(), _use_new_zipfile_serialization=False)
    pytest.importorskip("safetensors.numpy").save_file(_WEIGHTS, folder / "a.safetensors")
    yield folder / "a.safetensors"


@pytest.mark.torch
def test_truncated_files_are_refused(tmp_path):
    for path in _whole_files(tmp_path):
        data = path.read_bytes()
        _assert_equal({name: read_tensors(path)[name] for name in _WEIGHTS})
        for length in {*range(0, 40), *range(40, len(data), 61), *range(len(data) - 20, len(data))}:
            path.write_bytes(data[:length])
            _assert_refused(path)


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
    _assert_refused(tmp_path / f"a.{suffix}", *words)


def test_missing_files_and_folders_are_said(tmp_path):
    _assert_refused(tmp_path / "none.pth", "no such file")
    _assert_refused(tmp_path, "folder")


@pytest.mark.parametrize("content", [{}, {"model": {}}, [np.ones(1)], 5, None, np.ones(1)], ids=repr)
def test_a_file_without_tensors_is_refused(tmp_path, content):
    _assert_refused(_pickle(tmp_path / "a.pkl", content, 3), "expected")
