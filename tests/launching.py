"""Runs a script in two processes under PaddlePaddle's launcher."""

from command_line import REPOSITORY, start

MAIN_FILE = REPOSITORY / "paddle_pointrend" / "__main__.py"
LAUNCHER = ["-m", "paddle.distributed.launch", "--nproc_per_node", 2, "--log_dir"]
# Gives scripts `command(*arguments)`: it runs __main__.py by its path, as the launcher does, and returns the exit code.
_COMMAND = """
import os, runpy, signal, sys

main_file, folder = sys.argv[1:3]

def command(*arguments):
    sys.argv = [main_file, *arguments]
    try:
        runpy.run_path(main_file, run_name="__main__")
    except SystemExit as stop:
        return stop.code
"""


def launch_two(folder, script, *arguments):
    """Runs a script in two processes on the CPU; returns the logs of both.

    Args:
        folder: for the script and the logs.
        script: Python, which finds `folder`, `command` and, as sys.argv[3:], the arguments.
    """
    worker = folder / "worker.py"
    worker.write_text(_COMMAND + script)
    command = [*LAUNCHER, folder / "log", "--backend", "gloo", worker, MAIN_FILE, folder, *arguments]
    done = start(command, OMP_NUM_THREADS="1")
    logs = [(folder / f"log/workerlog.{rank}").read_text() for rank in (0, 1)]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs[0][-3000:] + logs[1][-3000:]
    return logs
