"""Pickles of detectron2 and Caffe2: every layout is read, nothing in them is executed."""

import collections
import pickle

import numpy as np
import pytest
from checkpoint_attacks import ATTACKS, WEIGHTS, Rebuilt, assert_equal, assert_refused, attacks, write_pickle

from paddle_pointrend.convert.checkpoint_files import read_tensors


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_and_layout_are_read(tmp_path, protocol):
    layouts = [
        {"model": WEIGHTS, "__author__": "someone", "matching_heuristics": True},
        {"blobs": {**WEIGHTS, "conv_w_momentum": np.ones(2)}, "cfg": "TRAIN: {}"},
        {**WEIGHTS, "conv_w_momentum": np.ones(2)},
        collections.OrderedDict(WEIGHTS),
    ]
    for content in layouts:
        assert_equal(read_tensors(write_pickle(tmp_path / "R-101.pkl", content, protocol)))


def test_a_pickle_of_python_2_is_read(tmp_path):
    array = (  # numpy.array([1.5, -2], "f4") as Python 2 wrote it: names and data are str
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\xc0?\\x00\\x00\\x00\\xc0'\ntb"
    )
    (tmp_path / "R-101.pkl").write_bytes(b"(dS'blobs'\n(dS'conv1_w'\n" + array + b"ss.")
    assert_equal(read_tensors(tmp_path / "R-101.pkl"), {"conv1_w": np.array([1.5, -2], "float32")})


def test_a_pickle_of_numpy_2_is_read(tmp_path):
    data = pickle.dumps(WEIGHTS, 2)
    assert b"cnumpy.core." in data
    (tmp_path / "a.pkl").write_bytes(data.replace(b"cnumpy.core.", b"cnumpy._core."))
    assert_equal(read_tensors(tmp_path / "a.pkl"))


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
        assert_equal(read_tensors(write_pickle(tmp_path / "a.pkl", content, protocol)), expected)


def test_module_prefix_goes_only_if_all_have_it(tmp_path):
    one = np.ones(1, "float32")
    assert [*read_tensors(write_pickle(tmp_path / "a.pkl", {"module.a": one, "module.b": one}))] == ["a", "b"]
    assert [*read_tensors(write_pickle(tmp_path / "a.pkl", {"module.a": one, "b": one}))] == ["module.a", "b"]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_malicious_pickle_executes_nothing(tmp_path, name, protocol):
    marker = tmp_path / "marker"
    content = {"model": WEIGHTS, "__author__": attacks(marker)[name]}
    assert_refused(write_pickle(tmp_path / "a.pkl", content, protocol), f"{name.split()[0]}, ", "refused", "executed")
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"c__main__\nRebuilt\n.", id="a global of the program"),
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
    assert_refused(tmp_path / "a.pkl")
    assert_equal(read_tensors(write_pickle(tmp_path / "b.pkl", WEIGHTS, 3)))  # and the next file is read as ever


def test_attributes_of_an_ordered_dict_hide_nothing(tmp_path):
    rebuilt = collections.OrderedDict, (), {"get": 1, "items": 2, "_metadata": {}}, None, iter(WEIGHTS.items())
    assert_equal(read_tensors(write_pickle(tmp_path / "a.pkl", Rebuilt(*rebuilt), 3)))


@pytest.mark.parametrize("shape", [(2**40,), (2**62, 4), ("x",), (2, 2), 5])
def test_a_shape_that_does_not_fit_its_data_is_refused(tmp_path, shape):
    state = 1, shape, np.dtype("f4"), False, bytes(12)
    array = Rebuilt(np.core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state)
    assert_refused(write_pickle(tmp_path / "a.pkl", {"a": array}), "cannot be read")


@pytest.mark.parametrize(
    "state", [("<", None, {"a": (np.dtype("O"), 0)}, 8, 8, 63), ("<f4,", None), ("S", None)], ids=repr
)
def test_the_state_of_a_dtype_reaches_no_dtype(tmp_path, state):
    dtype = Rebuilt(np.dtype, ("f4", False, True), (3, *state))
    for protocol in (2, 5):
        array = Rebuilt(np.core.multiarray.scalar, (dtype, b"\xff" * 8))
        assert_refused(write_pickle(tmp_path / "a.pkl", {"a": array}, protocol))


@pytest.mark.parametrize(
    "value",
    [1.5, "text", None, [1, 2], np.array([None, 1]), np.array(["a"]), np.zeros(2, "f4,i4"), np.complex64(1), {}],
    ids=repr,
)
def test_what_is_no_array_of_numbers_is_named(tmp_path, value):
    assert_refused(write_pickle(tmp_path / "a.pkl", {"model": {**WEIGHTS, "odd.one": value}}, 3), "'odd.one'")
    assert_refused(write_pickle(tmp_path / "a.pkl", {**WEIGHTS, 5: np.ones(1)}, 3), "<int>")
