"""How the fixes ask the installed PaddleSeg what fails in it, without leaving a trace."""

import contextlib
import warnings
from collections.abc import Callable, Iterator

import paddle


def fails_with(error: type[Exception], words: str, call: Callable[[], object]) -> bool:
    """Checks if call fails in just this way. A failure of another kind is none that is fixed here."""
    try:
        call()
    except error as failure:
        return words in str(failure)
    except Exception:
        return False
    return False


@contextlib.contextmanager
def without_side_effects() -> Iterator[None]:
    """Runs on the CPU, without gradients and warnings; device and random state are put back afterwards."""
    device = paddle.get_device()
    random_state = paddle.get_rng_state("cpu")  # DualTaskLoss draws random numbers
    paddle.set_device("cpu")
    try:
        with paddle.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        paddle.set_rng_state(random_state, "cpu")
        paddle.set_device(device)
