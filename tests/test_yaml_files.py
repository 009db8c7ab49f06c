"""YAML files are read as untrusted: nothing is executed, nothing grows without an end, a mistake is one line."""

import pytest

from paddle_pointrend.errors import UsageError
from paddle_pointrend.yaml_files import read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n" for before, name in zip("abcdefgh", "bcdefghi")
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300))


def test_plain_values_and_aliases_are_read(tmp_path):
    (tmp_path / "a.yml").write_text("\ufeffa: &a [1, 2.5, text, null, true]\nb: {c: *a}\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yml") == {
        "a": [1, 2.5, "text", None, True],
        "b": {"c": [1, 2.5, "text", None, True]},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!python/object/apply:os.mkdir [{marker}]", "is not valid YAML: could not determine a constructor"),
        ("a: !!python/object/new:os.mkdir [{marker}]", "is not valid YAML: could not determine a constructor"),
        ("a: !!python/name:os.system", "is not valid YAML: could not determine a constructor"),
        (LAUGHS, "has more than 100000 values, with all that its aliases repeat"),
        (MERGES, "has more than 100000 values, with all that its aliases repeat"),
        (CHAIN, "is nested more than 50 deep"),
        ("a: &a [*a]", "an alias holds itself"),
        ("a: " + "[" * 5000, "is nested too deeply"),
        ("a: 2020-99-99", "is not valid YAML"),
        ("a: !!int ''", "is not valid YAML"),
        ("? [a, b]\n: 1", "found unhashable key"),
        ("- a", "expected lines `name: value`, got list"),
        ("", "expected lines `name: value`, got NoneType"),
        ("1: 2", "got other names than strings"),
        ("a: \udcff", "is not UTF-8"),
        ('a: ["b\\0c"]', r"the value 'b\x00c' holds a zero byte"),
        ("a: " + "x" * 2**20, "a YAML file of at most 1048576"),
    ],
)
def test_others_are_refused_in_one_line(tmp_path, text, words):
    marker = tmp_path / "executed"
    path = tmp_path / "a.yml"
    path.write_bytes(text.replace("{marker}", str(marker)).encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not marker.exists()
