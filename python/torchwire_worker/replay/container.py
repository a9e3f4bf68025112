"""Reads a file of a failed step. It may come from a stranger: every size is checked against the file's own."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec

from ..ops import Settings
from ..wire import HEADER_BYTES, MAJOR, Header, Limits, MessageType, WireError, check_frames, read_header

MAGIC = b"torchwir"
FORMAT = 1
# The magic, the length of the header, its hash.
_START = 48
_MOST_HEADER = 64 * 2**20
_PIECE = 16 * 2**20


class BadFile(Exception):
    """The file cannot be read, or is not what it should be."""


class Failure(msgspec.Struct):
    """How it ended: an operation raised, or the worker was gone."""

    kind: Literal["error", "gone"]
    message: str
    id: int | None = None
    type: str | None = None
    operation: str | None = None
    # The line of TypeScript.
    site: str | None = None
    signal: str | None = None
    exitCode: int | None = None


class Restore(msgspec.Struct):
    """The checkpoint that is put back before a batch: `objects` are the ids of what it holds."""

    before: int
    steps: int
    objects: list[Any]


class Part(msgspec.Struct):
    name: str
    bytes: int
    sha256: str


class About(msgspec.Struct):
    format: int
    torchwire: str
    protocol: str
    time: str
    settings: Settings
    limits: dict[str, int]
    versions: dict[str, str]
    error: Failure
    names: dict[str, int]
    batches: int
    # The batches that failed, or that the worker was lost with, by their places.
    failed: list[int]
    cut: bool
    data: bool
    parts: list[Part]
    # The step, in words.
    place: str | None = None
    restore: Restore | None = None


class Record(NamedTuple):
    """A batch as it was sent. A frame is where its bytes lie, or their number if they were left out."""

    place: int
    header: Header
    meta: memoryview
    frames: list[memoryview | int]

    @property
    def left_out(self) -> int:
        return sum(frame for frame in self.frames if isinstance(frame, int))


class File:
    """An open file, of which everything has been checked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._view = _read(path)
        self.about, at = self._header()
        self.parts: dict[str, memoryview] = {}
        for part in self.about.parts:
            if part.bytes < 0 or part.name in self.parts:
                self.refuse(f"its part {part.name[:80]!r} is no part")
            self.parts[part.name] = self._view[at : at + part.bytes]
            at += part.bytes
        if at != len(self._view):
            self.refuse(f"it has {len(self._view)} bytes, and should have {at}: it is cut off, or something was added")
        for part in self.about.parts:
            if _hash(self.parts[part.name]) != part.sha256:
                self.refuse(f"the bytes of its part {part.name[:80]!r} are not those that were written")
        if "log" not in self.parts:
            self.refuse("it has no log")
        try:
            self.limits = msgspec.convert(self.about.limits, Limits)
            self.records = list(self._records(self.parts["log"]))
        except (WireError, msgspec.MsgspecError) as error:
            self.refuse(f"its log is broken: {error}")
        restore = self.about.restore
        if len(self.records) != self.about.batches or not self.records:
            self.refuse(f"it has {len(self.records)} batches, and should have {self.about.batches}")
        if restore is not None and (
            not 0 <= restore.before < len(self.records)
            or not {"model.safetensors", "training.safetensors"} <= self.parts.keys()
        ):
            self.refuse("its checkpoint is not whole, or belongs before no batch")

    @property
    def left_out(self) -> int:
        """The bytes of frames that are not in the file."""
        return sum(record.left_out for record in self.records)

    def refuse(self, why: str) -> NoReturn:
        raise BadFile(f"{self.path} cannot be replayed: {why}")

    def _header(self) -> tuple[About, int]:
        view = self._view
        if len(view) < _START or bytes(view[:8]) != MAGIC:
            self.refuse("it is no file of a failed step")
        length = int.from_bytes(view[8:16], "little")
        if length > min(_MOST_HEADER, len(view) - _START):
            self.refuse(f"its header would have {length} bytes: it is cut off, or no file of a failed step")
        header = view[_START : _START + length]
        if _hash(header) != bytes(view[16:_START]).hex():
            self.refuse("the bytes of its header are not those that were written")
        try:
            told = msgspec.json.decode(header)
            if not isinstance(told, dict) or told.get("format") != FORMAT:
                told = told.get("format") if isinstance(told, dict) else None
                self.refuse(
                    f"its format is {told!r}, and this torchwire knows {FORMAT}: use the torchwire that wrote it"
                )
            about = msgspec.convert(told, About)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.refuse(f"its header is not one: {error}")
        if about.protocol.partition(".")[0] != str(MAJOR):
            self.refuse(
                f"it was written by torchwire {about.torchwire} in protocol {about.protocol}, and this one speaks "
                f"{MAJOR}: use that version"
            )
        return about, _START + length

    def _records(self, log: memoryview) -> Iterator[Record]:
        at = place = 0

        def take(count: int) -> memoryview:
            nonlocal at
            if count > len(log) - at:
                raise WireError("it ends in the middle of a batch")
            at += count
            return log[at - count : at]

        while at < len(log):
            head = take(int.from_bytes(take(4), "little"))
            header = read_header(head, self.limits)
            if header.type is not MessageType.BATCH:
                raise WireError(f"a message of type {header.type.name} is in it")
            frames: list[memoryview | int] = []
            for _ in range(header.frames):
                there, size = struct.unpack("<BQ", take(9))
                frames.append(take(size) if there else size)
            check_frames(header, [frame if isinstance(frame, int) else len(frame) for frame in frames], self.limits)
            yield Record(place, header, head[HEADER_BYTES:], frames)
            place += 1


def _read(path: str) -> memoryview:
    try:
        # An ordinary open would wait for a pipe that nobody writes to.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise BadFile(f"{path} cannot be replayed: it is not a regular file")
            with os.fdopen(file, "rb", closefd=False) as opened:
                return memoryview(opened.read())
        finally:
            os.close(file)
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from None


def _hash(view: memoryview) -> str:
    found = hashlib.sha256()
    for at in range(0, len(view), _PIECE):
        found.update(view[at : at + _PIECE])
    return found.hexdigest()
