"""List files, `image label` a line, as people have them: byte order marks, tabs, several blanks, empty lines."""

from __future__ import annotations

import os

from paddle_pointrend.errors import UsageError

_BLANKS = " "


def read_list(path: str | os.PathLike, separator: str = _BLANKS) -> list[list[str]]:
    """Reads the columns of a list file.

    Args:
        path: a text file in UTF-8, with or without a byte order mark.
        separator: what stands between two columns. The default, a blank, stands for any run of blanks and tabs; where
            a line has a tab, for tabs alone, so that names may hold blanks.

    Returns:
        The columns of each line that is not empty.

    Raises:
        UsageError: no such file, or another encoding, where the message names the line.
    """
    return [split_columns(text, separator) for _, text in read_lines(path)]


def read_pairs(path: str | os.PathLike, separator: str = _BLANKS) -> list[list[str]]:
    """Reads a list of `image label` lines; arguments and errors as of `read_list`.

    Raises:
        UsageError: also a line that has not two columns, which is named.
    """
    rows = [(number, split_columns(text, separator)) for number, text in read_lines(path)]
    for number, columns in rows:
        if len(columns) != 2:
            found = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
            hint = "; with commas between them set separator: ','" if len(columns) == 1 and "," in columns[0] else ""
            raise UsageError(f"{path}, line {number}: {found}, expected two, an image and its label{hint}")
    return [columns for _, columns in rows]


def read_lines(path: str | os.PathLike) -> list[tuple[int, str]]:
    """Reads (line number, text without blanks around it) of each line that is not empty; errors as of `read_list`."""
    try:
        with open(path, "rb") as file:
            content = file.read().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UsageError(f"{path}: cannot read this list: {error.strerror}") from error
    lines = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}, line {number}: not UTF-8 (GBK, perhaps); save the list as UTF-8") from error
        if "\0" in text:
            raise UsageError(f"{path}, line {number}: it holds a zero byte; save the list as text in UTF-8")
        if text:
            lines.append((number, text))
    return lines


def split_columns(text: str, separator: str = _BLANKS) -> list[str]:
    """Splits a line into its columns; `separator` as of `read_list`."""
    if separator == _BLANKS and "\t" not in text:
        return text.split()
    columns = [column.strip() for column in text.split("\t" if separator == _BLANKS else separator)]
    return [column for column in columns if column]
