"""Files that paddle.save wrote are read as paddle.load reads them, and nothing in them is executed."""

import pickle
import warnings

import numpy as np
import paddle
import pytest
from checkpoint_attacks import Rebuilt, attacks, pickled_call
from PIL import Image

from paddle_pointrend.models.paddle_files import RefusedError, encode_state, load_paddle_file
from paddle_pointrend.models.weights import CheckpointError, UnreadableError, read_state


def trained():
    """(state of a layer, state of its optimizer) after a step."""
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    schedule = paddle.optimizer.lr.PolynomialDecay(0.1, 10)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=layer.parameters())
    layer(paddle.randn([2, 3, 8, 8])).sum().backward()
    optimizer.step()
    schedule.step()
    return layer.state_dict(), optimizer.state_dict()


def assert_same(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, paddle.Tensor):
        assert ours.dtype == theirs.dtype
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert_same(one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_states_are_those_of_paddle_load(tmp_path, protocol):
    for i, state in enumerate(trained()):
        path = str(tmp_path / f"{i}.pdparams")
        paddle.save(state, path, protocol=protocol)
        assert_same(load_paddle_file(path), paddle.load(path))


@pytest.mark.parametrize(
    "saved",
    [
        paddle.arange(6).reshape([2, 3]),
        [paddle.ones([2]), {"epoch": 3, "best": 0.5, "name": "a", "flag": None}],
        {"empty": paddle.zeros([0, 3]), "half": paddle.ones([2], "float16"), "bits": paddle.ones([2], "bfloat16")},
    ],
)
def test_other_contents_are_those_of_paddle_load(tmp_path, saved):
    path = str(tmp_path / "saved.pdparams")
    paddle.save(saved, path)
    assert_same(load_paddle_file(path), paddle.load(path))


def test_files_of_paddle_2_0_in_slices_and_with_a_table_of_names(tmp_path):
    weight = np.arange(12, dtype="float32").reshape(3, 4)
    big = {"slices": ["w@@.0", "w@@.1"], "OriginShape": (3, 4)}
    content = {"w@@.0": weight.ravel()[:7], "w@@.1": weight.ravel()[7:], "b": np.ones(3, "float32")}
    content |= {"UnpackBigParamInfor@@": {"w": big}, "StructuredToParameterName@@": {"b": "linear_0.b_0"}}
    (tmp_path / "old.pdparams").write_bytes(pickle.dumps(content, protocol=2))
    state = read_state(tmp_path / "old.pdparams")
    assert set(state) == {"w", "b"}
    np.testing.assert_array_equal(state["w"].numpy(), weight)


def test_tensors_of_a_static_graph(tmp_path):
    array = np.ones(3, "float32")
    (tmp_path / "static.pdparams").write_bytes(pickle.dumps({"w": pickled_call(eval, "data", {"data": array})}))
    np.testing.assert_array_equal(read_state(tmp_path / "static.pdparams")["w"].numpy(), array)
    code = Rebuilt(eval, ("__import__('os').getpid()", {"data": array}))
    (tmp_path / "code.pdparams").write_bytes(pickle.dumps({"w": code}))
    with pytest.raises(CheckpointError, match=r"code.pdparams: refused: it asks for builtins.eval of code"):
        read_state(tmp_path / "code.pdparams")


def test_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    weights = {"a.weight": np.random.rand(2, 3).astype("float32")}
    save_file(weights, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(read_state(tmp_path / "model.safetensors")["a.weight"].numpy(), weights["a.weight"])


@pytest.mark.parametrize("name", attacks(""))
def test_nothing_is_executed(tmp_path, name):
    marker = tmp_path / "executed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, for the attack that is an array of objects
        data = pickle.dumps({"w": attacks(marker)[name]})
    (tmp_path / "evil.pdparams").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"evil.pdparams: refused: it asks for .*; nothing of it was executed"):
        read_state(tmp_path / "evil.pdparams")
    assert not marker.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "objects.pdparams").write_bytes(pickle.dumps({"w": np.array([{}, []], object)}))
    with pytest.raises(RefusedError, match="it holds an array of object, expected numbers"):
        load_paddle_file(tmp_path / "objects.pdparams")


def test_damaged_files_are_unreadable(tmp_path):
    path = tmp_path / "model.pdparams"
    paddle.save(trained()[0], str(path))
    data = path.read_bytes()
    for part in (data[: len(data) // 2], b"", data[:1] + b"not a pickle"):
        path.write_bytes(part)
        with pytest.raises(UnreadableError, match=r"model.pdparams cannot be read, it may be half-written"):
            read_state(path)


def test_a_picture_is_not_a_file_of_weights(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(UnreadableError, match=r"x\.png is not a file of weights, expected a \.pdparams file"):
        read_state(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    state = {name: tensor.numpy() for name, tensor in trained()[0].items()}
    path = tmp_path / f"model{suffix}"
    path.write_bytes(encode_state(state, suffix))
    found = read_state(path)
    assert sorted(found) == sorted(state)
    for name, array in state.items():
        np.testing.assert_array_equal(found[name].numpy(), array)
    if suffix == ".pdparams":
        assert_same(load_paddle_file(path), paddle.load(str(path)))
    else:
        from_safetensors = pytest.importorskip("safetensors.numpy").load_file(path)
        assert all(np.array_equal(from_safetensors[name], array) for name, array in state.items())
