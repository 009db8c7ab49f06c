"""Damages inputs at random and gives them to the commands: each has to be read or refused in one line.

    python scripts/fuzz_inputs.py --inputs 10000 --seed 0 --save_dir output/fuzz

Images, labels, lists, configs, weights (.pdparams, .pdopt, .safetensors), pickles and torch files for `convert`,
annotations for `prepare`, exported folders and flags, of a tiny network. Hostile pickles and YAML among them would
create a file, which is looked for. Prints the counts and writes them to SAVE_DIR/counts.json; the folders of inputs
that end in a fault stay there, with the command's output. Exits with 1 if there are any. (Commands are forks, which
spares them the imports: POSIX only.)
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import shlex
import shutil
import sys
import time

from fuzzing import processes
from fuzzing.inputs import Inputs
from measuring.arguments import positive_float, positive_int
from tqdm import tqdm

from paddle_pointrend.files import write_json


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=positive_int, default=10000, help="default: 10000")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--seconds", type=positive_float, default=float(2**31), help="stop after these; default: never")
    parser.add_argument("--limit", type=positive_float, default=60.0, help="seconds a command may take, default: 60")
    parser.add_argument("--formats", nargs="*", default=["paddle", "onnx"], help="of exports, default: paddle onnx")
    parser.add_argument("--kinds", nargs="+", metavar="TEXT", help="only inputs whose kinds begin with these")
    parser.add_argument("--save_dir", default="output/fuzz", help="default: output/fuzz")
    args = parser.parse_args()
    folder = pathlib.Path(args.save_dir).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    inputs = Inputs(folder, tuple(args.formats))
    if args.kinds:
        inputs.cases = {kind: case for kind, case in inputs.cases.items() if kind.startswith(tuple(args.kinds))}
        if not inputs.cases:
            parser.error(f"--kinds {' '.join(args.kinds)}: no kind begins so")
    if "torch zip" in inputs.cases:
        import torch  # noqa: F401  # once, for all the forks
    prepare(inputs)
    counts = fuzz(inputs, folder, args)
    names = (*processes.RIGHT, *processes.FAULTS)
    print(" " * 16 + "".join(f"{name:>21}" for name in names))
    for kind, row in counts.items():
        print(f"{kind:16}" + "".join(f"{row[name]:21}" for name in names))
    total = {name: sum(row[name] for row in counts.values()) for name in names}
    print(f"{sum(total.values())} inputs, seed {args.seed}: " + ", ".join(f"{total[name]} {name}" for name in names))
    write_json(folder / "counts.json", {"seed": args.seed, "inputs": sum(total.values()), "counts": counts})
    print(f"Wrote {folder}/counts.json")
    return 1 if any(total[name] for name in processes.FAULTS) else 0


def prepare(inputs: Inputs) -> None:
    """Writes the whole inputs in a fork: this process stays without threads. Exits where one is refused."""
    inputs.whole.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(inputs.whole)
            inputs.write()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit("The whole inputs could not be made")


def fuzz(inputs: Inputs, folder: pathlib.Path, args: argparse.Namespace) -> dict[str, dict[str, int]]:
    """Tries inputs; returns how many of each kind ended how. Number i is the same for the same seed."""
    counts = {kind: dict.fromkeys((*processes.RIGHT, *processes.FAULTS), 0) for kind in inputs.cases}
    kinds, started = list(inputs.cases), time.monotonic()
    for number in tqdm(range(args.inputs), desc="inputs"):
        if time.monotonic() - started > args.seconds:
            break
        kind, case = kinds[number % len(kinds)], folder / f"input_{number}"
        arguments = inputs.make(kind, case, random.Random(f"{args.seed} {number}"))
        ended = processes.run(arguments, case, inputs.canary, args.limit)
        counts[kind][ended] += 1
        if ended in processes.FAULTS:
            tqdm.write(f"{ended}: {case}: {shlex.join(arguments)}")
        else:
            shutil.rmtree(case)
    return counts


if __name__ == "__main__":
    sys.exit(main())
