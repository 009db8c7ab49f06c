import pytest

from paddle_pointrend.data.lists import read_list, read_pairs
from paddle_pointrend.errors import UsageError

PAIRS = [["images/a.png", "labels/a.png"], ["图像/街道.png", "标签/街道.png"]]


@pytest.mark.parametrize(
    "text",
    [
        "{0[0]} {0[1]}\n{1[0]} {1[1]}\n",
        "\ufeff{0[0]} {0[1]}\n{1[0]} {1[1]}",  # a byte order mark, no last line break
        "{0[0]}  \t {0[1]}\r\n{1[0]}\t{1[1]}\r\n",
        "\n{0[0]}   {0[1]} \n\n  {1[0]} {1[1]}\n\n \n",
    ],
)
def test_lists_as_people_have_them(tmp_path, text):
    path = tmp_path / "train.txt"
    path.write_bytes(text.format(*PAIRS).encode())
    assert read_pairs(path) == PAIRS


def test_names_with_blanks_between_tabs_or_commas(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("street 1.png\tlabel 1.png\n")
    assert read_pairs(path) == [["street 1.png", "label 1.png"]]
    path.write_text("street 1.png, label 1.png\n")
    assert read_pairs(path, ",") == [["street 1.png", "label 1.png"]]


def test_a_list_of_images_alone(tmp_path):
    path = tmp_path / "images.txt"
    path.write_text("a.png\n\nb.png ignored.png\n")
    assert read_list(path) == [["a.png"], ["b.png", "ignored.png"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.png b.png\n\na.png\n", r"train.txt, line 3: 1 column, expected two, an image and its label$"),
        (b"a.png b.png c.png\n", r"line 1: 3 columns"),
        (b"a.png b.png\na.png b\0.png\n", r"line 2: it holds a zero byte; save the list as text in UTF-8"),
        (b"a.png,b.png\n", r"line 1: 1 column, .* with commas between them set separator: ','"),
        (
            "a.png b.png\n街道图像.png b.png\n".encode("gbk"),
            r"line 2: not UTF-8 \(GBK, perhaps\); save the list as UTF-8",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, content, message):
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_pairs(path)


def test_a_list_that_is_missing(tmp_path):
    with pytest.raises(UsageError, match=r"none.txt: cannot read this list: No such file or directory"):
        read_pairs(tmp_path / "none.txt")
