"""Fonts of the system, for texts that are not ASCII: OpenCV writes "???" in their place."""

from __future__ import annotations

import functools
import logging
import os

_DIGITS = "0123456789. "  # of the scores that stand beside names
_OTHER_STYLES = ("bold", "italic", "oblique", "light", "thin", "black")
_BOXES = "lastresort"  # macOS's font that has a box for every letter
_LOGGER = logging.getLogger(__name__)


def find_font(text: str) -> str | None:
    """Finds a font file that has every letter of a text, and digits; None, and a warning once, if there is none."""
    return _find(frozenset(text + _DIGITS))


@functools.cache
def _find(letters):
    font = next((path for path in _font_files() if letters <= _letters_of(path)), None)
    if font is None:
        _warn()
    return font


@functools.cache
def _warn():
    _LOGGER.warning("No font of this system has the letters of all names: pictures have classes' numbers instead")


@functools.cache
def _font_files():
    from matplotlib import font_manager, get_data_path  # it reads a list of fonts as it is imported

    own = os.path.join(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    files = [path for path in font_manager.findSystemFonts() if _BOXES not in os.path.basename(path).lower()]
    return [own, *sorted(files, key=lambda path: (_has_style(path), path))]


def _has_style(path):
    return any(style in os.path.basename(path).lower() for style in _OTHER_STYLES)


@functools.cache
def _letters_of(path):
    from matplotlib.ft2font import FT2Font

    try:
        return {chr(code) for code in FT2Font(path).get_charmap()}
    except (OSError, RuntimeError):  # of a kind that FreeType does not read
        return set()
