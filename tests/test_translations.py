"""Chinese pages and their English twins: the same commands, code, names and figures, section by section.

A section of a Chinese page names its twin in a comment, `<!-- of PAGE: HEADING -->`; `, to "WORDS"` after the heading
is where the part that is translated ends.
"""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README_zh.md", *sorted((ROOT / "docs/zh").glob("*.md"))]
MARK = re.compile(r'<!-- of (?P<page>[\w/.]+): (?P<heading>.*?)(?:, to "(?P<end>.*)")? -->\n')
# Chinese pages of which every section of the twin has to be there.
WHOLE = {"README_zh.md": "README.md", "own_data.md": "docs/own_data.md", "quick_start.md": "docs/quick_start.md"}


def english_section(page, heading, end):
    """The text under a heading, to the next one of any level or to the words that end the part."""
    text = (ROOT / page).read_text()
    blank = re.sub(
        r"(?ms)^```.*?^```", lambda block: re.sub(r"(?m)^#", " ", block[0]), text
    )  # comments are no headings
    start = re.search(rf"(?m)^#+ {re.escape(heading)}$", blank)
    assert start, f"{page} has no heading {heading!r}"
    following = re.search(r"(?m)^#+ ", blank[start.end() :])
    section = text[start.end() :][: following.start() if following else None]
    assert end is None or end in section, f"{page}: {heading} has no {end!r}"
    return section.partition(end)[0] if end else section


def sections(page):
    """Yields (mark, Chinese text, English text); the Chinese text ends at the next heading."""
    text = page.read_text()
    for mark in MARK.finditer(text):
        chinese = re.split(r"(?m)^#+ (?=[^\n]*\n\n<!-- of )", text[mark.end() :])[0]
        yield mark, chinese, english_section(**mark.groupdict())


def code_lines(text):
    """Lines of code and commands, without their comments, which are translated."""
    fenced = "\n".join(re.findall(r"(?ms)^```\w*\n(.*?)^```", text))
    lines = [*fenced.splitlines(), *re.findall(r"(?m)^    .*", re.sub(r"(?ms)^```.*?^```", "", text))]
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def names(text):
    """What stands between backticks, and where links lead (docs/zh's own pages stand for those of docs/)."""
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    links = {re.split("[/#]", link)[-1] for link in re.findall(r"\]\(([^)\s]+)\)", text)}
    return {" ".join(name.split()) for name in re.findall(r"`([^`]+)`", text)} | links


def figures(text):
    """Numbers in the running text, outside of code, links and names that contain digits."""
    text = re.sub(r"(?ms)^```.*?^```|^    .*?$|`[^`]*`|\]\([^)]*\)", " ", text)
    return set(re.findall(r"(?<![A-Za-z0-9.,])\d+(?:[.,]\d+)*(?![A-Za-z0-9])", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_figures_stand_in_both_languages(page):
    compared = 0
    for mark, chinese, english in sections(page):
        place = f"{page.name}, {mark['heading']}"
        assert code_lines(chinese) == code_lines(english), place
        moved = {"models.md", "own_model.md", "README_zh.md"}  # each language links to its own
        assert names(chinese) - moved == names(english) - moved, place
        assert figures(chinese) == figures(english), place
        compared += 1
    assert compared


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_section_of_the_twin_is_translated(page):
    if page.name in WHOLE:
        twin = re.sub(r"(?ms)^```.*?^```", "", (ROOT / WHOLE[page.name]).read_text())
        translated = [mark["heading"] for mark in MARK.finditer(page.read_text())]
        assert translated == re.findall(r"(?m)^#+ (.*)$", twin)


def test_differences_are_found():
    assert code_lines("    make demo  # draws\n```python\na = 1\n```") == ["a = 1", "make demo"]
    assert names("`--seed 2` [x](../models.md)") == {"--seed 2", "models.md"}
    assert figures("82 张，38.3 升到 43.7；ResNet-18 `a 5`, 543,999") == {"82", "38.3", "43.7", "18", "543,999"}
