"""Damages bytes and texts at random, and writes files that would execute code if they were trusted."""

from __future__ import annotations

import copy
import io
import json
import os
import pathlib
import pickle
import random
import zipfile

# What stands in the place of values: numbers at limits, other types, names that are nowhere.
WORDS = (
    "-1",
    "0",
    "1e999",
    ".nan",
    "99999999999",
    "null",
    "[]",
    "{}",
    "true",
    "''",
    "nowhere",
    "../../..",
    "é",
    "\x00",
)


# Values in the place of others in JSON.
_NUMBERS = (-1, 0, 0.5, 1e308, float("nan"), 2**63, 10**400)
_VALUES = (None, True, *_NUMBERS, "", "a", "../../..", "\x00", [], {}, [[]], [1, 2], {"a": 1})


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Changes a file's bytes: some of them, a part taken out, doubled, zeroed or of chance, or the end cut off."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        start = chance.randrange(len(changed) + 1)
        if chance.random() < 0.5:  # heads of files matter most
            start = min(start, chance.randrange(64))
        stop = min(len(changed), start + chance.choice([1, 4, 64, 1024]))
        part = bytes(changed[start:stop])
        replacements = (bytes(len(part)), b"\xff" * len(part), chance.randbytes(len(part)), part * 2, b"")
        changed[start:stop] = chance.choice(replacements)
    if chance.random() < 0.2:
        del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def mutate_text(text: str, chance: random.Random, hostile: str) -> bytes:
    """Changes lines of a YAML or list file; one in ten gets `hostile` as a value."""
    lines = text.splitlines()
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.randrange(len(lines))
        key, mark, _ = lines[at].partition(chance.choice([": ", " "]))
        word = hostile if chance.random() < 0.1 else chance.choice(WORDS)
        lines[at : at + 1] = chance.choice(
            (
                [],
                [lines[at]] * 2,
                [" " + lines[at]],
                [lines[at].lstrip()],
                [key + mark + word],
                [key + mark + word],
                [word],
                [lines[at][: chance.randrange(len(lines[at]) + 1)]],
            )
        )
        if not lines:
            break
    data = "\n".join(lines).encode("utf-16" if chance.random() < 0.02 else "utf-8")
    return mutate_bytes(data, chance) if chance.random() < 0.1 else data


def mutate_json(text: str, chance: random.Random) -> bytes:
    """Changes values of a JSON file: others in their place, left out, doubled, or those of another key."""
    content = json.loads(text)
    for _ in range(chance.choice([1, 1, 2, 8])):
        places = list(_places(content))
        if not places:
            break
        parent, key = chance.choice(places)
        other_parent, other_key = chance.choice(places)
        kind = chance.randrange(8)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(key, parent[key])
        elif kind == 2:
            parent[key] = copy.deepcopy(other_parent[other_key])
        elif kind == 3 and isinstance(parent[key], (int, float)):
            parent[key] = chance.choice((-1, 1, 1000, 0.001)) * parent[key]
        else:
            parent[key] = copy.deepcopy(chance.choice(_VALUES))
    data = json.dumps(content).encode()
    return mutate_bytes(data, chance) if chance.random() < 0.1 else data


def _places(value):
    """Yields (dict or list, key) of everything inside."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def mutate_zip(data: bytes, chance: random.Random, hostile: bytes) -> bytes:
    """Changes one member of a zip file, its checksum too; one in three times its pickle is `hostile`."""
    source, written = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = source.namelist()
    pickle_name = next(name for name in names if name.endswith("data.pkl"))
    is_hostile = chance.random() < 0.3
    chosen = pickle_name if is_hostile or chance.random() < 0.5 else chance.choice(names)
    with zipfile.ZipFile(written, "w") as target:
        for name in names:
            content = source.read(name)
            if name == chosen:
                content = hostile if is_hostile else mutate_bytes(content, chance)
            target.writestr(name, content)
    return written.getvalue()


def hostile_yaml(canary: pathlib.Path) -> str:
    """A value that creates the canary where YAML makes Python's objects of it."""
    return f"!!python/object/apply:os.system ['touch {canary}']"


def hostile_pickle(canary: pathlib.Path, chance: random.Random) -> bytes:
    """A pickle that creates the canary where it is unpickled without care."""
    code = f"open({str(canary)!r}, 'w').close()"
    call = chance.choice([(os.system, (f"touch {canary}",)), (exec, (code,)), (eval, (code,))])
    content = {"w": _Call(*call)}
    return pickle.dumps(chance.choice([content, {"state_dict": content}, content["w"]]), chance.choice([0, 2, 4]))


class _Call:
    def __init__(self, function, arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call
