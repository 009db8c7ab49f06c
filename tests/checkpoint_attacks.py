"""Files of weights that the tests write, harmless and hostile ones, and what is expected of reading them."""

import collections
import os
import pickle

import numpy as np
import pytest

from paddle_pointrend.convert.checkpoint_files import UntrustedFileError, read_tensors

WEIGHTS = {
    "conv.weight": np.random.RandomState(0).standard_normal((4, 3, 2, 2)).astype("float32"),
    "bn.num_batches_tracked": np.array(7),
    "bn.bias": np.zeros(0, "float32"),
}


class Rebuilt:
    """Pickled as what __reduce__ may return: a function, its arguments, a state, items."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def pickled_call(function, *arguments):
    return Rebuilt(function, arguments)


def attacks(marker):
    """Name of the global -> an object whose unpickling would create the file `marker`."""
    code = f"open({str(marker)!r}, 'w').close()"
    shell = pickled_call(os.system, f"touch {marker}")
    nested = np.empty(1, object)
    nested[0] = shell
    return {
        f"{os.name}.system": shell,
        "builtins.exec": pickled_call(exec, code),
        "builtins.eval": pickled_call(eval, code),
        f"{os.name}.system in an array": nested,
        f"{os.name}.system in a number": pickled_call(np.core.multiarray.scalar, np.dtype("O"), shell),
        f"{os.name}.system as a dtype": pickled_call(np.dtype, shell),
    }


ATTACKS = [*attacks("")]


def assert_equal(found, expected=WEIGHTS):
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape) and found[name].flags.writeable


def assert_refused(path, *words):
    with pytest.raises(UntrustedFileError) as error:
        read_tensors(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert all(word in message for word in words), message


def write_pickle(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def torch_save(path, content, **options):
    torch = pytest.importorskip("torch")
    torch.save(content, path, **options)
    return path


def torch_weights():
    torch = pytest.importorskip("torch")
    return collections.OrderedDict((name, torch.tensor(array)) for name, array in WEIGHTS.items())
