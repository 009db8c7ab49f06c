"""Profiles some iterations of a training with paddle.profiler, as PaddleSeg's `profiler_options` ask for.

PaddleSeg's trainer calls `add_profiler_step(profiler_options)` after every iteration. The options are one string,
"batch_range=[10,20]; profile_path=profile.json", with the keys and meanings of PaddleSeg 2.8.0.
"""

import contextlib
import dataclasses
import io
import pathlib
import re
import sys

import paddle
from paddle.profiler import Profiler, ProfilerTarget, SortedKeys

from paddle_pointrend.files import check_writable

_CPU_KEYS = {"total": "CPUTotal", "max": "CPUMax", "min": "CPUMin", "ave": "CPUAvg"}
_YES, _NO = ("yes", "true", "t", "1"), ("no", "false", "f", "0")


@dataclasses.dataclass(frozen=True)
class ProfilerOptions:
    """What to profile.

    Attributes:
        batch_range: (first, last): recorded are, as by PaddleSeg, the iterations first + 2 to last + 1, counted from 1.
        state: "CPU", or "GPU" or "All" for what the device does too; "GPU" sorts the table by the device's times.
        sorted_key: "total", "max", "min" or "ave": the time that the table of operators is sorted by.
        tracer_option: "Default" for a table of operators, "OpDetail" for what each consists of too, "AllOpDetail" for
            that thread by thread.
        profile_path: the file of the timeline, in Chrome's tracing format.
        exit_on_finished: whether the program ends with the profile.
    """

    batch_range: tuple[int, int] = (10, 20)
    state: str = "All"
    sorted_key: str = "total"
    tracer_option: str = "Default"
    profile_path: str = "/tmp/profile"
    exit_on_finished: bool = True


def parse_options(text: str) -> ProfilerOptions:
    """Reads ProfilerOptions from a string "key=value; key=value".

    Raises:
        ValueError: a key or a value that is none, in one line.
    """
    options = {}
    for pair in filter(None, (pair.strip() for pair in text.split(";"))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in _READERS:
            raise ValueError(f"{pair!r}: expected key=value; key=value; ... with keys from {', '.join(_READERS)}")
        try:
            options[key] = _READERS[key](value)
        except ValueError as error:
            raise ValueError(f"{key} is {value!r}, expected {error}") from error
    return ProfilerOptions(**options)


def check_options(options: ProfilerOptions, iterations: int) -> None:
    """Finds before the training what would go wrong at the profile's end.

    Args:
        options: ProfilerOptions.
        iterations: how many iterations the training has.

    Raises:
        ValueError: the training ends before batch_range does, a profile_path that cannot be written.
    """
    last = options.batch_range[1]
    if last >= iterations:
        raise ValueError(
            f"batch_range ends at {last}, which takes {last + 1} iterations, and the training has {iterations}; "
            "let it end earlier or train longer"
        )
    try:
        check_writable(_path_of_this_process(options))
    except OSError as error:
        raise ValueError(f"profile_path: cannot write {options.profile_path}: {error.strerror}") from error


class TrainingProfiler:
    """Records the iterations of batch_range, then prints its tables and says where the timeline is.

    Args:
        options: ProfilerOptions.
    """

    def __init__(self, options: ProfilerOptions) -> None:
        self.options = options
        self.steps = 0
        self.profiler = None

    def step(self) -> None:
        """Counts one iteration; ends the program, with code 0, where exit_on_finished says so."""
        first, last = self.options.batch_range
        if self.steps == first:
            self._start()
        elif self.steps == last:
            self._finish()
            if self.options.exit_on_finished:
                sys.exit(0)
        elif self.profiler is not None:
            self.profiler.step()
        self.steps += 1

    def _start(self):
        # A callable that does nothing with the records: with None, Paddle makes a folder and writes into it.
        self.profiler = Profiler(
            targets=[ProfilerTarget.CPU] if self.options.state == "CPU" else None,
            on_trace_ready=lambda profiler: None,
        )
        self.profiler.start()

    def _finish(self):
        profiler, self.profiler = self.profiler, None  # Paddle has one at a time: the next needs this one gone
        # Paddle prints a table here whose averages are wrong: the sums of n + 1 iterations, divided by n.
        with contextlib.redirect_stdout(io.StringIO()):
            profiler.stop()
        path, (first, last) = _path_of_this_process(self.options), self.options.batch_range
        profiler.export(str(path), "json")
        self._print_tables(profiler)
        print(
            f"Profiled iterations {first + 2} to {last + 1} of this run. The timeline is in {path}; "
            "chrome://tracing and https://ui.perfetto.dev show it.",
            flush=True,
        )

    def _print_tables(self, profiler):
        key = _CPU_KEYS[self.options.sorted_key]
        profiler.summary(
            sorted_by=SortedKeys[key.replace("CPU", "GPU") if self.options.state == "GPU" else key],
            op_detail=self.options.tracer_option != "Default",
            thread_sep=self.options.tracer_option == "AllOpDetail",
        )


_profiler = None  # PaddleSeg's trainer passes nothing but the string


def add_profiler_step(options_str: str | None = None) -> None:
    """Takes the place of PaddleSeg's function of this name: one call after every iteration.

    Args:
        options_str: the options; None profiles nothing. Those of the process's first call count.

    Raises:
        ValueError: options that are none.
    """
    global _profiler
    if options_str is None:
        return
    if _profiler is None:
        _profiler = TrainingProfiler(parse_options(options_str))
    _profiler.step()


def forget() -> None:
    """Lets the next call of add_profiler_step begin anew, for another training in the same process."""
    global _profiler
    _profiler = None


def _path_of_this_process(options):
    path, rank = pathlib.Path(options.profile_path), paddle.distributed.get_rank()
    return path if rank == 0 else path.with_name(f"{path.stem}.rank{rank}{path.suffix}")


def _range(text):
    numbers = re.fullmatch(r"\[?\s*(\d+)\s*,\s*(\d+)\s*\]?", text)
    if not numbers or int(numbers[1]) >= int(numbers[2]):
        raise ValueError("[first,last], two whole numbers, the first below the last")
    return int(numbers[1]), int(numbers[2])


def _one_of(*choices):
    def read(text):
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return read


def _boolean(text):
    if text.lower() not in (*_YES, *_NO):
        raise ValueError("true or false")
    return text.lower() in _YES


def _path(text):
    if not text:
        raise ValueError("the path of a file")
    return text


_READERS = {
    "batch_range": _range,
    "state": _one_of("CPU", "GPU", "All"),
    "sorted_key": _one_of(*_CPU_KEYS),
    "tracer_option": _one_of("Default", "OpDetail", "AllOpDetail"),
    "profile_path": _path,
    "exit_on_finished": _boolean,
}
