"""Files that list classes, one a line, perhaps with their colours: labelme's, EISeg's, CVAT's and others' forms."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from paddle_pointrend.data.lists import read_lines
from paddle_pointrend.errors import UsageError

_FORMS = (
    re.compile(r"(?P<name>[^:]+):(?P<color>\d+,\d+,\d+)(?::.*)?"),  # CVAT's labelmap.txt
    re.compile(r"(?P<color>\d+[\s,]+\d+[\s,]+\d+)[\s,]+(?P<name>\D.*)"),
    re.compile(r"(?:(?P<id>\d+)\s+)?(?P<name>.*?)[\s,]+(?P<color>\d+[\s,]+\d+[\s,]+\d+)"),  # EISeg's, with an id
)


@dataclass(frozen=True)
class ListedClass:
    """A line of such a file. color: RGB. id: the value in label maps. Both None where the file does not say."""

    name: str
    color: tuple[int, int, int] | None = None
    id: int | None = None


def read_label_file(path: str | os.PathLike) -> list[ListedClass]:
    """Reads a file of classes.

    A line is `NAME`, `NAME R G B`, `R G B NAME`, EISeg's `ID NAME R G B` or CVAT's `NAME:R,G,B:PARTS:ACTIONS`; commas
    may stand for the blanks. Lines that begin with # are comments; where classes have colours, a first line without is
    a headline.

    Raises:
        UsageError: a file that cannot be read, no class, a class or a colour twice, a line without a colour among
            others.
    """
    lines = [(number, text) for number, text in read_lines(path) if not text.startswith("#")]
    listed = [_parse(text, f"{path}, line {number}") for number, text in lines]
    if len(listed) > 1 and listed[0].color is None and listed[1].color is not None:
        lines, listed = lines[1:], listed[1:]
    if not listed:
        raise UsageError(f"{path} names no classes, expected one a line")
    colored = listed[0].color is not None
    for (number, text), entry in zip(lines, listed):
        if (entry.color is not None) != colored:
            has = "no colour, where others have one" if colored else "a colour, where others have none"
            raise UsageError(f"{path}, line {number}: {text!r} has {has}")
    for what in ("name", "color", "id"):
        values = [getattr(entry, what) for entry in listed if getattr(entry, what) is not None]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise UsageError(f"{path}: the {what} {twice} stands there twice")
    return listed


def _parse(text, place):
    found = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if found is None:
        return ListedClass(text)
    red, green, blue = (int(number) for number in re.split(r"[\s,]+", found["color"]))
    if max(red, green, blue) > 255:
        raise UsageError(f"{place}: {found['color']!r} is no colour, expected three numbers from 0 to 255")
    number = found.groupdict().get("id")
    return ListedClass(found["name"].strip(), (red, green, blue), None if number is None else int(number))
