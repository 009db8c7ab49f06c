"""Files written whole or not at all."""

import json
import os
import stat

import pytest

from paddle_pointrend import files


def test_write_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "report.html"
    for data in (b"first, and longer", b"second"):
        files.write_whole(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        files.write_whole(path, b"new")
    with pytest.raises(TypeError):
        files.write_whole(path, "text")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_mode_is_the_users(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write_whole(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    files.write_whole(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"data"


def test_check_writable(tmp_path):
    files.check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").write_text("kept")
    files.check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_text() == "kept"
    with pytest.raises(OSError, match="not a regular file"):
        files.check_writable(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.check_writable(tmp_path / "none/file")


def test_json_is_whole_and_strict(tmp_path):
    path = tmp_path / "measures.json"
    files.write_json(path, {"miou": 0.5, "macc": None})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"miou": float("nan")})
    assert json.loads(path.read_text()) == {"miou": 0.5, "macc": None}


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with files.whole_folder(tmp_path / "deep/new") as draft:
        (draft / "a").write_text("a")
        assert not (tmp_path / "deep/new").exists()
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["new", "a"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError), files.whole_folder(tmp_path / "empty"):
        raise RuntimeError
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "empty"}
    with files.whole_folder(tmp_path / "empty") as draft:
        (draft / "b").write_text("b")
    assert (tmp_path / "empty/b").read_text() == "b"
    with pytest.raises(OSError, match="it is there already and not empty"), files.whole_folder(tmp_path / "deep"):
        pass
