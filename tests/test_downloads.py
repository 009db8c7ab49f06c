"""Downloads: HTTPS alone, of a limited size, whole or not at all; archives whose members leave the folder are refused.

Nothing is downloaded: the addresses are answered here, under urllib's own handling of redirects and errors.
"""

import concurrent.futures
import email.message
import gzip
import hashlib
import io
import pathlib
import struct
import tarfile
import threading
import urllib.error
import urllib.request
import urllib.response
import zipfile

import pytest

from paddle_pointrend import downloads
from paddle_pointrend.downloads import fetch_folder, fetch_weights, unpack
from paddle_pointrend.errors import UsageError

ADDRESS = "https://example.org/models/model.pdparams"
CONTENT = b"weights" * 1000


class _Server(urllib.request.BaseHandler):
    """Answers https:// addresses with (status, headers, body), or raises what stands there."""

    handler_order = 1  # before urllib's own

    def __init__(self):
        self.answers, self.asked = {}, []

    def https_open(self, request):
        self.asked.append(request.full_url)
        answer = self.answers.get(request.full_url, (404, {}, b""))
        if isinstance(answer, Exception):
            raise answer
        status, headers, body = answer
        message = email.message.Message()
        for name, value in headers.items():
            message[name] = value
        response = urllib.response.addinfourl(io.BytesIO(body), message, request.full_url, status)
        response.msg = "said so"
        return response


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server of addresses, and a home of its own for what is kept."""
    server = _Server()
    monkeypatch.setattr(downloads, "_opener", urllib.request.build_opener(downloads._HTTPSOnly, server))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return server


def tar_of(members, compressed=True):
    """A tar file of {name: bytes, or a TarInfo's changes}."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz" if compressed else "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, dict):
                for key, value in data.items():
                    setattr(info, key, value)
                data = b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def zip_of(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            if isinstance(data, int):
                info.external_attr, data = data << 16, b"/etc/passwd"
            archive.writestr(info, data)
    return content.getvalue()


def refused(url, *words):
    with pytest.raises(UsageError) as error:
        fetch_weights(url)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def kept_files():
    return [path for path in pathlib.Path.home().rglob("*") if path.is_file() and path.name != "lock"]


def test_a_file_is_downloaded_once(server):
    server.answers[ADDRESS] = 200, {"Content-Length": str(len(CONTENT))}, CONTENT
    file = fetch_weights(ADDRESS)
    assert pathlib.Path(file).read_bytes() == CONTENT
    assert file.endswith("/model.pdparams")
    assert fetch_weights(ADDRESS) == file
    assert server.asked == [ADDRESS]
    (pathlib.Path(file).parent / "lock").unlink()
    assert fetch_weights(ADDRESS) == file
    assert [path.name for path in pathlib.Path(file).parent.iterdir()] == ["model.pdparams"]  # nothing was written


def test_all_processes_of_a_training_fetch_an_archive_at_once(server):
    """Threads stand for them: each opens the lock for itself."""
    address = "https://example.org/model.tar.gz"
    server.answers[address] = (200, {}, tar_of({"model.pdparams": CONTENT}))
    together = threading.Barrier(4)

    def fetch(_):
        together.wait()
        return fetch_weights(address)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetch, range(4)))
    assert len(set(found)) == 1
    assert pathlib.Path(found[0]).read_bytes() == CONTENT
    assert server.asked == [address]


def test_equal_names_of_two_addresses_are_two_files(server):
    other = ADDRESS.replace("example", "other")
    server.answers = {ADDRESS: (200, {}, b"one"), other: (200, {}, b"two")}
    assert [pathlib.Path(fetch_weights(url)).read_bytes() for url in (ADDRESS, other)] == [b"one", b"two"]


def test_a_checksum_is_checked_also_of_what_was_kept(server):
    right, wrong = hashlib.sha256(CONTENT).hexdigest(), "0" * 64
    server.answers[ADDRESS] = 200, {}, CONTENT
    refused(f"{ADDRESS}#sha256={wrong}", f"has the sha256 {right}, expected {wrong}")
    assert kept_files() == []
    file = pathlib.Path(fetch_weights(f"{ADDRESS}#sha256={right}"))
    file.write_bytes(b"changed")
    assert pathlib.Path(fetch_weights(f"{ADDRESS}#sha256={right.upper()}")).read_bytes() == CONTENT
    refused(f"{ADDRESS}#sha256=123", "expected sha256= and 64 hexadecimal digits")


@pytest.mark.parametrize(
    "url",
    ["http://example.org/a.pdparams", "ftp://example.org/a", "file:///etc/passwd", "https://", "https://[", "s3://b"],
)
def test_only_https_is_downloaded(server, url):
    refused(url, "only https:// is downloaded")
    assert server.asked == []


@pytest.mark.parametrize("target", ["http://example.org/b.pdparams", "ftp://example.org/b"])
def test_a_redirect_to_something_else_is_refused(server, target):
    server.answers[ADDRESS] = 302, {"Location": target}, b""
    refused(ADDRESS, "redirects to", "only https:// is downloaded")
    assert server.asked == [ADDRESS]
    assert kept_files() == []


def test_a_redirect_to_https_is_followed(server):
    server.answers = {
        ADDRESS: (302, {"Location": "https://mirror.example.org/x"}, b""),
        "https://mirror.example.org/x": (200, {}, CONTENT),
    }
    assert pathlib.Path(fetch_weights(ADDRESS)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            urllib.error.URLError(OSError("Name or service not known")),
            "not known; without a connection name a file",
        ),
        (TimeoutError("timed out"), "timed out"),
        ((404, {}, b""), "404"),
        ((200, {"Content-Length": "9000000"}, CONTENT), "ended after 7000 of 9000000 bytes"),
        ((200, {"Content-Length": str(2**40)}, CONTENT), "has more than"),
    ],
)
def test_failures_are_one_line_and_leave_no_file(server, answer, words):
    server.answers[ADDRESS] = answer
    refused(ADDRESS, words)
    assert kept_files() == []


def test_a_download_that_does_not_end_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_BYTES", 1000)
    server.answers[ADDRESS] = 200, {}, CONTENT
    refused(ADDRESS, "has more than 1000 bytes")
    assert kept_files() == []


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_an_archive_of_weights(server, pack):
    url = ADDRESS.replace("model.pdparams", "net.zip" if pack is zip_of else "net.tar.gz")
    server.answers[url] = 200, {}, pack({"net/readme.txt": b"a", "net/model.pdparams": CONTENT})
    file = fetch_weights(url)
    assert pathlib.Path(file).read_bytes() == CONTENT
    assert fetch_weights(url) == file
    assert server.asked == [url]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tar_of({"../model.pdparams": CONTENT}), "leaves the folder"),
        (tar_of({"a/../../model.pdparams": CONTENT}), "leaves the folder"),
        (tar_of({"/tmp/model.pdparams": CONTENT}), "leaves the folder"),
        (tar_of({"a": {"type": tarfile.SYMTYPE, "linkname": "/etc"}, "a/model.pdparams": CONTENT}), "link or device"),
        (tar_of({"model.pdparams": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}}), "link or device"),
        (tar_of({"model.pdparams": {"type": tarfile.CHRTYPE}}), "link or device"),
        (tar_of({"model.pdparams": {"type": tarfile.FIFOTYPE}}), "link or device"),
        (zip_of({"../model.pdparams": CONTENT}), "leaves the folder"),
        (zip_of({"..\\model.pdparams": CONTENT}), "leaves the folder"),
        (zip_of({"C:/model.pdparams": CONTENT}), "leaves the folder"),
        (zip_of({"model.pdparams": 0o120777}), "link or device"),
        (tar_of({"model.pdparams": CONTENT})[:60], "no whole tar or zip file"),
        (b"no archive", "no whole tar or zip file"),
        (tar_of({"a.pdparams": CONTENT, "b.pdparams": CONTENT}), "holds 2 files of weights"),
        (tar_of({"readme.txt": b""}), "holds 0 files of weights"),
    ],
    # gzip writes the time: without names of their own the workers would collect different tests.
    ids=[
        "tar_parent",
        "tar_parent_inside",
        "tar_absolute",
        "tar_symlink",
        "tar_hard_link",
        "tar_device",
        "tar_fifo",
        "zip_parent",
        "zip_backslash",
        "zip_drive",
        "zip_symlink",
        "cut_off",
        "no_archive",
        "two_weights",
        "no_weights",
    ],
)
def test_archives_that_are_refused(server, tmp_path, content, words):
    url = ADDRESS.replace("model.pdparams", "net.tar.gz")
    server.answers[url] = 200, {}, content
    refused(url, words)
    assert {path.name for path in tmp_path.rglob("*.pdparams")} <= {"a.pdparams", "b.pdparams"}


def test_an_archive_that_unpacks_to_too_much_is_refused(server, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_UNPACKED_BYTES", 2**20)
    url = ADDRESS.replace("model.pdparams", "net.tgz")
    server.answers[url] = 200, {}, gzip.compress(tar_of({"model.pdparams": bytes(2**21)}, compressed=False))
    refused(url, "unpacks to more than")


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_an_archive_of_too_many_members_is_refused(server, tmp_path, monkeypatch, pack):
    monkeypatch.setattr(downloads, "MOST_MEMBERS", 100)
    url = ADDRESS.replace("model.pdparams", "net.zip" if pack is zip_of else "net.tar.gz")
    folders = {f"a{i}/": b"" for i in range(98)}
    server.answers[url] = 200, {}, pack({**folders, "b.txt": b"", "model.pdparams": CONTENT})
    fetch_weights(url)
    archive = tmp_path / "archive"
    for members in ({f"{i}.txt": b"" for i in range(101)}, {f"{i}/": b"" for i in range(101)}):
        archive.write_bytes(pack(members))
        with pytest.raises(UsageError, match="archive is refused: it has more than 100 members"):
            unpack(archive, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["archive"]


def test_a_zip_file_of_a_million_members_is_refused_before_its_directory_is_read(tmp_path, monkeypatch):
    one = zip_of({"a" * 20: b""})
    entry = one[one.index(b"PK\1\2") : one.index(b"PK\5\6")]
    size, offset = len(entry) * 10**6, one.index(b"PK\1\2")
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, size, offset, 0)
    archive = tmp_path / "archive"
    with archive.open("wb") as file:
        file.write(one[:offset])
        file.write(entry * 10**6)
        file.write(end)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("its directory was read"))
    with pytest.raises(UsageError, match="it has more than 200000 members"):
        unpack(archive, tmp_path / "out")


def test_a_data_set_of_paddleseg_goes_the_same_way(server, tmp_path):
    from paddleseg.datasets import optic_disc_seg, voc
    from paddleseg.utils import utils

    assert utils.download_pretrained_model is fetch_weights
    server.answers["https://example.org/set.zip"] = 200, {}, zip_of({"set/train_list.txt": b"", "set/a/b.png": b"c"})
    folder = optic_disc_seg.download_file_and_uncompress(
        "https://example.org/set.zip", savepath=tmp_path, extrapath=tmp_path, extraname="mine"
    )
    assert pathlib.Path(folder, "a", "b.png").read_bytes() == b"c"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="only https:// is downloaded"):
        voc.download_file_and_uncompress(voc.URL, savepath=tmp_path, extrapath=tmp_path, extraname="voc")
    with pytest.raises(UsageError, match="404"):
        fetch_folder("https://example.org/none.zip", tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
