"""Downloads files and archives, which are untrusted: over HTTPS, of a limited size, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import lzma
import os
import pathlib
import re
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.files import whole_file

MOST_BYTES = 2**32  # of a download
MOST_UNPACKED_BYTES = 2**34  # of an archive's files together
MOST_MEMBERS = 200_000  # of an archive, folders too
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_TIMEOUT = 30  # seconds without a byte
_CHUNK = 2**20
_MOST_BYTES_OF_A_ZIP_ENTRY = 150  # in its directory, on average: 46, and the name
_WEIGHTS = (".pdparams", ".safetensors")
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


def is_url(path: str | os.PathLike) -> bool:
    """Tells an address from a path of this machine."""
    return "://" in os.fspath(path)


def fetch_weights(url: str) -> str:
    """Downloads a file of weights, once: the next call finds it in ~/.cache/paddle_pointrend.

    Args:
        url: https://..., of a .pdparams or .safetensors file, or of an archive (.tar, .tar.gz, .tgz, .zip) of one. It
            may end in #sha256=HEX, the checksum of what is downloaded.

    Returns:
        The file's path.

    Raises:
        UsageError: another scheme, no connection, another checksum, too large, an archive that is damaged or whose
            members leave its folder.
    """
    address, _, fragment = url.partition("#")
    _check_scheme(address)
    expected = _expected_checksum(url, fragment)
    name = re.sub(
        r"[^\w.-]", "_", pathlib.PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name
    )
    folder = _cache() / hashlib.sha256(address.encode()).hexdigest()[:16]
    file, unpacked = folder / (name or "weights"), folder / "unpacked"
    is_archive = file.name.endswith(_ARCHIVES)
    if not (_is_kept(file, expected) and (unpacked.is_dir() or not is_archive)):
        with _disk_errors(folder), _one_process_at_a_time(folder):
            if not _is_kept(file, expected):  # another process may have been faster
                _download(address, file, expected)
                shutil.rmtree(unpacked, ignore_errors=True)
            if is_archive and not unpacked.is_dir():
                unpack(file, unpacked)
    if not is_archive:
        return str(file)
    found = [path for path in sorted(unpacked.rglob("*")) if path.name.endswith(_WEIGHTS)]
    found = [path for path in found if path.stem == "model"] or found
    if len(found) != 1:
        raise UsageError(f"{url} holds {len(found)} files of weights ({' or '.join(_WEIGHTS)}), expected one")
    return str(found[0])


def fetch_folder(url: str, folder: str | os.PathLike) -> None:
    """Downloads an archive and unpacks it as a folder; errors as of `fetch_weights`.

    Args:
        url: as of `fetch_weights`.
        folder: does not exist yet; takes the place of the archive's one top folder, if it has one.
    """
    address, _, fragment = url.partition("#")
    folder = pathlib.Path(folder).absolute()
    with _disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as draft:
            _download(address, pathlib.Path(draft, "archive"), _expected_checksum(url, fragment))
            unpack(pathlib.Path(draft, "archive"), folder)


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks a tar or zip file as a folder that does not exist yet.

    Raises:
        UsageError: it is damaged, too large or of too many members, or has members that leave its folder, links or
            devices: nothing of it is written then.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as draft:
        total = 0
        try:
            for name, size, source in _zip_files(archive) if zipfile.is_zipfile(archive) else _tar_files(archive):
                if _leaves(name):
                    raise UsageError(f"{archive} is refused: its member {_shown(name)} leaves the folder")
                total += size
                if total > MOST_UNPACKED_BYTES:
                    raise UsageError(f"{archive} is refused: it unpacks to more than {MOST_UNPACKED_BYTES} bytes")
                target = pathlib.Path(draft, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with source() as reader, target.open("wb") as writer:
                    shutil.copyfileobj(reader, writer, _CHUNK)
        except _DAMAGED as error:
            raise UsageError(f"{archive} is no whole tar or zip file: {one_line(error)}; download it again") from error
        tops = list(pathlib.Path(draft).iterdir())
        os.replace(tops[0] if len(tops) == 1 and tops[0].is_dir() else draft, folder)
        pathlib.Path(draft).mkdir(exist_ok=True)  # for its removal


def _zip_files(path) -> Iterator[tuple[str, int, Any]]:
    # Opening reads the whole directory, whatever number of members it names: its bytes bound the memory.
    private: Any = zipfile
    with path.open("rb") as file:
        if private._EndRecData(file)[private._ECD_SIZE] > MOST_MEMBERS * _MOST_BYTES_OF_A_ZIP_ENTRY:
            raise _too_many_members(path)
    with zipfile.ZipFile(path) as archive:
        if len(archive.infolist()) > MOST_MEMBERS:
            raise _too_many_members(path)
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UsageError(f"{path} is refused: its member {_shown(member.filename)} is a link or device")
            if not member.is_dir():
                yield member.filename, member.file_size, lambda member=member: archive.open(member)


def _tar_files(path) -> Iterator[tuple[str, int, Any]]:
    with tarfile.open(path) as archive:
        for count, member in enumerate(archive, start=1):
            if count > MOST_MEMBERS:
                raise _too_many_members(path)
            if not (member.isreg() or member.isdir()):
                raise UsageError(f"{path} is refused: its member {_shown(member.name)} is a link or device")
            if member.isreg():
                yield member.name, member.size, lambda member=member: archive.extractfile(member)


def _too_many_members(path):
    return UsageError(f"{path} is refused: it has more than {MOST_MEMBERS} members")


def _leaves(name):
    parts = re.split(r"[/\\]", name)
    return not parts[0] or ".." in parts or ":" in parts[0] or "\0" in name


def _shown(name):
    return ascii(name)[:150]


class _HTTPSOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_scheme(newurl, f"{req.full_url} redirects to ")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_HTTPSOnly)


def _download(address, file, expected):
    _check_scheme(address)
    checksum, count = hashlib.sha256(), 0
    try:
        with _opener.open(address, timeout=_TIMEOUT) as response, whole_file(file) as draft, draft.open("wb") as writer:
            length = response.headers.get("Content-Length", "")
            promised = int(length) if length.isdecimal() else None
            _check_size(address, promised or 0)
            with tqdm(total=promised, desc=f"downloading {file.name}", unit="B", unit_scale=True) as bar:
                while chunk := response.read(_CHUNK):
                    count += len(chunk)
                    _check_size(address, count)
                    checksum.update(chunk)
                    writer.write(chunk)
                    bar.update(len(chunk))
            if promised is not None and count < promised:
                raise UsageError(f"{address}: the connection ended after {count} of {promised} bytes; try again")
            if expected and checksum.hexdigest() != expected:
                raise UsageError(f"{address} has the sha256 {checksum.hexdigest()}, expected {expected}: do not use it")
    except urllib.error.HTTPError as error:
        raise UsageError(f"{address} cannot be downloaded: {error.code} {one_line(error)}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        reason = one_line(reason) if isinstance(reason, BaseException) else str(reason)
        raise UsageError(
            f"{address} cannot be downloaded: {reason}; without a connection name a file of this machine instead"
        ) from error


def _check_scheme(address, before=""):
    try:
        known = urllib.parse.urlsplit(address).scheme.lower() == "https" and bool(
            urllib.parse.urlsplit(address).hostname
        )
    except ValueError:
        known = False
    if not known or re.search(r"[\s\x00-\x1f]", address):
        raise UsageError(
            f"{before}{_shown(address)[1:-1]}: only https:// is downloaded; download it by other means, check "
            "it, and name the file or folder of this machine instead"
        )


def _check_size(address, count):
    if count > MOST_BYTES:
        raise UsageError(f"{address} has more than {MOST_BYTES} bytes, the most that is downloaded")


def _expected_checksum(url, fragment):
    if not fragment:
        return None
    found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not found:
        raise UsageError(f"{url}: after # expected sha256= and 64 hexadecimal digits, got {_shown(fragment)}")
    return found[1].lower()


def _is_kept(file, expected):
    return file.is_file() and (expected is None or _checksum(file) == expected)


def _checksum(file):
    checksum = hashlib.sha256()
    with file.open("rb") as reader:
        while chunk := reader.read(_CHUNK):
            checksum.update(chunk)
    return checksum.hexdigest()


def _cache():
    return pathlib.Path.home() / ".cache" / "paddle_pointrend"


@contextlib.contextmanager
def _one_process_at_a_time(folder):
    """Makes the folder and holds it: the processes of a training all fetch the same weights at the same moment."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows, where Paddle trains in one process
        yield
        return
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        yield


@contextlib.contextmanager
def _disk_errors(folder):
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror or one_line(error)}") from error
