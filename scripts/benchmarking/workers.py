"""The processes of scripts/benchmark.py: each holds one entry and runs it when it is told to.

    PYTHONPATH=scripts python -m benchmarking.workers '{"task": "network", "entry": "openvino", ...}'

is such a process. It prints a line of JSON when the entry is loaded, and one for every line of JSON it reads, which is
one run. What libraries print goes to its standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tqdm import tqdm

Spec = dict[str, Any]

# After its work an OpenMP thread goes on spinning for up to 0.2 s, on a core that the next process wants.
PAUSE = 0.3


class WorkerError(Exception):
    """An entry that could not be loaded or run."""


class Worker:
    """Starts one process and talks to it, the parent's side.

    Args:
        spec: of benchmarking.networks, with "task", the function there that gives what is to be run.
        log: a path for what the process prints.

    Attributes:
        loaded_bytes: the peak of its memory until the entry was loaded.
        peak_bytes: the peak until now.

    Raises:
        WorkerError: the entry could not be loaded.
    """

    def __init__(self, spec: Spec, log: str | os.PathLike):
        self.log = pathlib.Path(log)
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, json.dumps(spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=_environment(spec),
            )
        try:
            self.loaded_bytes = self._reply()["peak_bytes"]
        except WorkerError:
            self.close()
            raise

    def run(self, save: str | os.PathLike | None = None) -> dict[str, Any]:
        """Asks for one run and returns the reply: {"seconds": ..., "peak_bytes": ...}, and "result" where it is a list.

        Args:
            save: a path to which the run's array is written, after the clock has stopped.
        """
        time.sleep(PAUSE)
        with contextlib.suppress(BrokenPipeError):  # its reply, or the lack of one, says more
            self.process.stdin.write(json.dumps({"save": save and os.fspath(save)}) + "\n")
            self.process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _reply(self):
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with code {self.process.wait()}, see {self.log}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        self.peak_bytes = reply["peak_bytes"]
        return reply


def measure(specs: list[Spec], rounds: int, budget: float, logs: pathlib.Path, progress: tqdm) -> list[dict[str, Any]]:
    """Runs entries alternately: every round each once, in every other round in the opposite order.

    Each runs once before the first round, or as many times as its spec's "warmups". An entry leaves out the rounds for
    which its budget does not suffice; where that one run took the budget already, it is what is reported.

    Args:
        specs: one for each entry; all of them are alive at the same time.
        rounds: at most so many for each.
        budget: seconds that an entry may take, the run before the first round not counted.
        logs: a folder for what the processes print.
        progress: a tqdm bar, which shows what runs.

    Returns:
        One dict for each entry: entry, shape, seconds (a list, one for each round, None where left out), warmup (the
        seconds of the first run), cold (whether that had to do as round 0), loaded_bytes, peak_bytes, error (None or a
        message; then what is missing is None).
    """
    records, workers = [], {}
    with contextlib.ExitStack() as stack:
        for i, spec in enumerate(specs):
            record = {"entry": spec["entry"], "shape": list(spec["shape"]), "seconds": [None] * rounds, "cold": False}
            record |= dict.fromkeys(("warmup", "loaded_bytes", "peak_bytes", "error"))
            records.append(record)
            with _noting_errors(record, workers, i):
                progress.set_postfix_str(f"{spec['entry']} loads")
                workers[i] = stack.enter_context(Worker(spec, logs / f"{spec['entry'].replace(' ', '-')}.log"))
                record["loaded_bytes"] = workers[i].loaded_bytes
                for _ in range(spec.get("warmups", 1)):
                    record["warmup"] = workers[i].run()["seconds"]
                record["peak_bytes"] = workers[i].peak_bytes
                if record["warmup"] > budget:
                    record["seconds"][0], record["cold"] = record["warmup"], True
        for number in range(rounds):
            for i in sorted(workers, reverse=number % 2 == 1):
                _run_round(records[i], workers, i, number, budget, progress)
            progress.update()
    return records


def _run_round(record, workers, i, number, budget, progress):
    done = [seconds for seconds in record["seconds"][:number] if seconds is not None]
    if record["cold"] or (done and sum(done) + max(done) > budget):
        return
    progress.set_postfix_str(record["entry"])
    with _noting_errors(record, workers, i):
        record["seconds"][number] = workers[i].run()["seconds"]
        record["peak_bytes"] = workers[i].peak_bytes


@contextlib.contextmanager
def _noting_errors(record, workers, i):
    """Takes a worker that fails out; its record says why."""
    try:
        yield
    except WorkerError as error:
        record["error"] = str(error)
        workers.pop(i, None)


def run_once(spec: Spec, log: str | os.PathLike, save: str | os.PathLike | None = None) -> dict[str, Any]:
    """Starts a process that runs its entry once and ends; returns the reply."""
    with Worker(spec, log) as worker:
        return worker.run(save)


def _environment(spec):
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    scripts = pathlib.Path(__file__).resolve().parents[1]
    path = os.pathsep.join(filter(None, (str(scripts), str(scripts.parent), os.environ.get("PYTHONPATH"))))
    threads = dict.fromkeys(names, str(spec["threads"]))
    return {**os.environ, **threads, **_amd_settings(), **spec.get("environment", {}), "PYTHONPATH": path}


def _amd_settings(cpuinfo="/proc/cpuinfo"):
    """Sets what the command line sets too: else the MKL in Paddle's wheel takes a slow path on AMD processors."""
    with contextlib.suppress(OSError):
        if "AuthenticAMD" in pathlib.Path(cpuinfo).read_text():
            return {"MKL_DEBUG_CPU_TYPE": "5"}
    return {}


def _peak_bytes():
    """Reads the most memory that this process has had. (getrusage would start from what the parent had.)"""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _limit_memory():
    """Lets an entry that needs more than there is fail, rather than something else on the machine."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                import resource

                limit = int(0.95 * int(line.split()[1]) * 1024)
                resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def serve(spec: Spec) -> None:
    """Loads an entry and runs it for every line that is read, the process's side."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(**content):
        channel.write(json.dumps(content) + "\n")
        channel.flush()

    _limit_memory()
    clock = time.process_time if spec.get("clock") == "processor" else time.perf_counter
    try:
        from benchmarking import networks

        run = getattr(networks, spec["task"])(spec)
        reply(peak_bytes=_peak_bytes())
        for line in sys.stdin:
            start = clock()
            result = run()
            content = {"seconds": clock() - start, "peak_bytes": _peak_bytes()}
            if isinstance(result, list):
                content["result"] = result
            elif save := json.loads(line)["save"]:
                np.save(save, np.asarray(result))
            del result
            reply(**content)
    except Exception as error:
        reply(error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        raise


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
