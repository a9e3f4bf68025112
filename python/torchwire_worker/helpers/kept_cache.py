"""Samples on this machine's disk, by the hash of their bytes, for sessions to come.

A cache is a folder of files that are only appended to. A session writes to one that it has locked, so that two sessions
never write to the same. A record is whole or it is not there: its length stands in front, and its hash is computed anew
where it is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import struct
import sys
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torchwire_worker import owners

try:
    import fcntl
except ImportError:  # Windows does not remove a file that is open, and needs no lock.
    fcntl = None  # type: ignore[assignment]

HASH_BYTES = 32
_RECORD = struct.Struct(f"<8sQ{HASH_BYTES}s")
_MAGIC = b"twkept01"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_END = ".samples"
_DEFAULT_BYTES = 20 * 2**30
# Files of this size, or of this part of the whole, go together where room is made.
_FILE_BYTES = 16 * 2**20
_FILES = 64
_MOST_TOLD = 2**20
_MOST_TRIES = 100


class BadName(ValueError):
    pass


class Damaged(OSError):
    pass


def root() -> str:
    """Return the folder of all caches. bridge/environment/places.ts says where it is."""
    environ = os.environ
    if environ.get("TORCHWIRE_CACHE"):
        base = environ["TORCHWIRE_CACHE"]
    elif os.name == "nt":
        base = os.path.join(environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local"), "torchwire")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches/torchwire")
    else:
        xdg = environ.get("XDG_CACHE_HOME", "")
        base = os.path.join(xdg if os.path.isabs(xdg) else os.path.expanduser("~/.cache"), "torchwire")
    return os.path.join(base, "samples")


def listed() -> list[dict[str, Any]]:
    """Return the caches by name: the bytes of each, and when it was used last, in seconds since 1970."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(root())):
            # (Another process may remove it meanwhile.)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if _NAME.fullmatch(name):
                    found.append(_about(name))
    return found


def remove(name: str) -> int:
    """Remove a cache and return its bytes. Sessions that use it keep what they have."""
    folder = folder_of(name)
    if not os.path.isdir(folder):
        raise BadName(f"there is no cache {name!r} in {root()}")
    size = _about(name)["bytes"]
    # The folder may be a link to a larger disk.
    real = os.path.realpath(folder)
    # A session that makes files meanwhile makes them in another folder of this name.
    doomed = os.path.join(os.path.dirname(real), f".{uuid.uuid4().hex}")
    os.rename(real, doomed)
    if os.path.islink(folder):
        os.unlink(folder)
    for path in {doomed, *_left_behind()}:
        shutil.rmtree(path)
    return size


def _left_behind() -> list[str]:
    """Return what a process left that was killed while it removed a cache."""
    return [os.path.join(root(), name) for name in os.listdir(root()) if re.fullmatch(r"\.[0-9a-f]{32}", name)]


def folder_of(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadName(
            f"{name!r} is no name of a cache: it has up to 64 letters, digits, dots, hyphens and underscores, and "
            "begins with a letter or a digit"
        )
    return os.path.join(root(), name)


class Cache:
    def __init__(self, name: str, most_bytes: int | None) -> None:
        self._folder = folder_of(name)
        self._most = _DEFAULT_BYTES if most_bytes is None else most_bytes
        # Room is made by whole files: a few must be left then.
        self._file_bytes = min(self._most // 4, max(_FILE_BYTES, self._most // _FILES))
        self._readers: list[_Reader] = []
        self._places: dict[bytes, tuple[_Reader, int, int]] = {}
        self._writer: int | None = None
        self._path = ""
        self._written = 0
        self._is_full = False
        owners.make(self._folder, 0o700)
        for path in _files_in(self._folder):
            with contextlib.suppress(OSError):
                self._read_places(_Reader(path))
        self._count = len(self._places)

    def __contains__(self, hash: bytes) -> bool:
        return hash in self._places

    def hashes(self) -> bytes:
        """Return what is there, as far as a client is told of it."""
        return b"".join(islice(self._places, _MOST_TOLD))

    def read(self, hash: bytes, key: bytes) -> bytes:
        """Return the bytes of a sample. They are there even where others have removed the cache meanwhile."""
        reader, start, length = self._places[hash]
        content = _pread(reader.file, length, start)
        if hashlib.sha256(key + content).digest() != hash:
            try:
                os.unlink(reader.path)
            except OSError as error:
                raise Damaged(
                    f"{reader.path} was damaged on the disk, and cannot be removed ({error}): remove it, and run the "
                    "program again"
                ) from None
            raise Damaged(f"{reader.path} was damaged on the disk, and has been removed: run the program again")
        reader.touch()
        return content

    def write(self, hash: bytes, content: bytes) -> None:
        """Write a sample, if there is room. A disk that is full only ends the writing: the session has the sample."""
        size = _RECORD.size + len(content)
        if hash in self._places or self._is_full or size > self._file_bytes or self._count >= _MOST_TOLD:
            return
        try:
            if self._writer is None or self._written + size > self._file_bytes:
                self._begin(size)
            assert self._writer is not None
            _write(self._writer, _RECORD.pack(_MAGIC, len(content), hash) + content)
            self._written += size
            self._count += 1
        except OSError:
            self._is_full = True
            if self._writer is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._writer, self._written)

    def close(self) -> None:
        self._end()
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        self._places.clear()

    def _read_places(self, reader: _Reader) -> None:
        self._readers.append(reader)
        for hash, start, length in _records(reader.file):
            # A client is told of no more.
            if len(self._places) >= _MOST_TOLD:
                return
            self._places.setdefault(hash, (reader, start, length))

    def _begin(self, size: int) -> None:
        """Go on with a file that has room and that no session writes to, or begin one."""
        self._end()
        owners.make(self._folder, 0o700)
        total = sum(status.st_size for _, status in _statuses(self._folder))
        for path in _files_in(self._folder):
            if self._take(path, os.O_RDWR, size):
                if total + self._file_bytes - self._written <= self._most:
                    return
                self._end()
        self._make_room(size)
        path = self._folder
        # Another session may lock a file before the one that has made it.
        for _ in range(_MOST_TRIES):
            path = os.path.join(self._folder, uuid.uuid4().hex + _END)
            if self._take(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, size):
                return
        raise OSError(f"{path} cannot be locked")

    def _take(self, path: str, flags: int, size: int) -> bool:
        try:
            file = _open(path, flags)
        except OSError:
            if flags & os.O_CREAT:
                raise
            return False
        # (Whoever removes a file has its lock.)
        if _lock(file) and _is_at(file, path):
            end = max((start + length for _, start, length in _records(file)), default=0)
            if end + size <= self._file_bytes:
                # What a session left half written goes.
                os.ftruncate(file, end)
                os.lseek(file, end, os.SEEK_SET)
                self._writer, self._path, self._written = file, path, end
                return True
        os.close(file)
        return False

    def _make_room(self, size: int) -> None:
        """Remove the files that were used the longest ago, until there is room for one more. Those that a session
        writes to stay.
        """
        files = [(status.st_mtime, status.st_size, path) for path, status in _statuses(self._folder)]
        total = sum(bytes for _, bytes, _ in files)
        room = self._most - min(self._file_bytes, self._most)
        for _, bytes, path in sorted(files):
            if total <= room:
                return
            with contextlib.suppress(OSError):
                file = _open(path, os.O_RDONLY)
                try:
                    if _lock(file):
                        os.unlink(path)
                        total -= bytes
                finally:
                    os.close(file)
        if total + size > self._most:
            raise OSError("other sessions have filled the cache")

    def _end(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None


class _Reader:
    def __init__(self, path: str) -> None:
        self.path = path
        self.file = _open(path, os.O_RDONLY)
        self._is_touched = False

    def touch(self) -> None:
        if not self._is_touched:
            self._is_touched = True
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def close(self) -> None:
        os.close(self.file)


def _open(path: str, flags: int) -> int:
    """Open a regular file: a link or a pipe of this name is none of ours."""
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    file = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is no file", path)
    return file


def _records(file: int) -> Iterator[tuple[bytes, int, int]]:
    """Return the whole records of a file: hash, start, length."""
    size, at = os.fstat(file).st_size, 0
    while at + _RECORD.size <= size:
        head = _pread(file, _RECORD.size, at)
        # (Another session may cut off meanwhile what was left half written.)
        if len(head) < _RECORD.size:
            return
        magic, length, hash = _RECORD.unpack(head)
        at += _RECORD.size
        if magic != _MAGIC or length > size - at:
            return
        yield hash, at, length
        at += length


def _pread(file: int, length: int, start: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, length, start)
    os.lseek(file, start, os.SEEK_SET)
    return os.read(file, length)


def _write(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _lock(file: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(file: int, path: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    return False


def _files_in(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(_END)]


def _statuses(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    for path in _files_in(folder):
        with contextlib.suppress(OSError):
            yield path, os.stat(path, follow_symlinks=False)


def _about(name: str) -> dict[str, Any]:
    found = [status for _, status in _statuses(folder_of(name))]
    return {
        "name": name,
        "bytes": sum(status.st_size for status in found),
        "used": max((status.st_mtime for status in found), default=0.0),
    }
