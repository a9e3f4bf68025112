"""Wire version 1: a fixed header and a msgpack map in the first frame, then the bytes of each tensor in a frame of its
own.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

import msgspec

MAGIC = 0x5754
MAJOR = 1
MINOR = 0
URGENT = 1

# Fields: magic, major, minor, type, flags, frames, session, parent call, seq, meta bytes, ack, total bytes.
_HEADER = struct.Struct("<HBBBBHIIQIIQ")
HEADER_BYTES = _HEADER.size


class WireError(Exception):
    """A message is not understood. Nothing of it was run."""


class LimitError(WireError):
    """A message exceeds a limit that was agreed."""

    __module__ = "torchwire"


class MessageType(IntEnum):
    HELLO = 1
    WELCOME = 2
    BATCH = 3
    REPLY = 4
    PING = 5
    PONG = 6
    LOG = 7
    CLOSE = 8
    CLOSED = 9
    FATAL = 10
    ACK = 11
    CALL = 12


_TYPES = {int(kind): kind for kind in MessageType}


class Limits(msgspec.Struct, rename="camel", frozen=True):
    """The limits of what one side may ask of the other; bridge/wire/limits.ts explains each."""

    frame_bytes: int = 2**30
    frames: int = 1024
    message_bytes: int = 64 * 2**30
    meta_bytes: int = 64 * 2**20
    text_bytes: int = 16 * 2**20
    ops: int = 4096
    depth: int = 64
    dims: int = 64
    # The client keeps these two: the worker knows only what it has read, and not what ZeroMQ holds.
    in_flight_ops: int = 1_000_000
    in_flight_bytes: int = 2 * 2**30

    def smaller(self, theirs: dict[str, int]) -> Limits:
        """Return the smaller of each limit. A limit that the other side does not name is ours."""
        told = {
            field.name: theirs[field.encode_name]
            for field in msgspec.structs.fields(Limits)
            if field.encode_name in theirs
        }
        if any(limit < 1 for limit in told.values()):
            raise WireError(f"limits that nothing can keep to: {told}")
        return msgspec.structs.replace(self, **{name: min(limit, getattr(self, name)) for name, limit in told.items()})

    @property
    def longest_part(self) -> int:
        """The bytes of the longest part of a message."""
        return max(self.frame_bytes, self.meta_bytes + 4096)

    def check(self, name: str, found: int, what: str) -> None:
        """Raise if `found` exceeds the limit. `what` has a place for the number."""
        limit = getattr(self, name)
        if found > limit:
            first, *rest = name.split("_")
            option = first + "".join(map(str.capitalize, rest))
            raise LimitError(f"{what.format(found)}, the limit is {limit}; the option limits: {{ {option} }} raises it")


class Header(NamedTuple):
    type: MessageType
    flags: int
    frames: int
    session: int
    parent_call: int
    seq: int
    # The low 32 bits of the number of the last batch whose reply the client has.
    ack: int
    meta_bytes: int
    total_bytes: int


def encode(
    type: MessageType, meta: object, seq: int = 0, frames: int = 0, total_bytes: int = 0, parent_call: int = 0
) -> bytes:
    """Return the header and meta of a message. Its frames are sent behind it."""
    body = _encoder.encode(meta)
    return _HEADER.pack(MAGIC, MAJOR, MINOR, type, 0, frames, 1, parent_call, seq, len(body), 0, total_bytes) + body


def read_header(head: bytes | memoryview, limits: Limits) -> Header:
    if len(head) < HEADER_BYTES:
        raise WireError(f"{len(head)} bytes, a header has {HEADER_BYTES}")
    magic, major, minor, kind, flags, frames, session, parent_call, seq, meta_bytes, ack, total = _HEADER.unpack_from(
        head
    )
    if magic != MAGIC:
        raise WireError("it does not begin with TW")
    if major != MAJOR:
        older = (
            "this worker is the older, update it: its torchwire_worker folder or image must be of the same release as "
            "the client's npm package"
            if major > MAJOR
            else "the client is the older, update it: npm install torchwire@latest"
        )
        raise WireError(f"protocol version {major}.{minor}, this side speaks {MAJOR}.{MINOR}; {older}")
    if kind not in _TYPES:
        raise WireError(f"message type {kind} is unknown")
    if flags & ~URGENT:
        raise WireError(f"flags {flags} are unknown")
    if meta_bytes != len(head) - HEADER_BYTES:
        raise WireError(f"{len(head) - HEADER_BYTES} bytes of meta, its header says {meta_bytes}")
    if meta_bytes > limits.meta_bytes:
        limits.check("meta_bytes", meta_bytes, "{} bytes of meta")
    if frames > limits.frames:
        limits.check("frames", frames, "{} frames in a message")
    return Header(_TYPES[kind], flags, frames, session, parent_call, seq, ack, meta_bytes, total)


def check_frames(header: Header, sizes: list[int], limits: Limits) -> None:
    if len(sizes) != header.frames:
        raise WireError(f"{len(sizes)} frames, its header says {header.frames}")
    total = sum(sizes)
    if total != header.total_bytes:
        raise WireError(f"{total} bytes of frames, its header says {header.total_bytes}")
    if total > limits.message_bytes:
        limits.check("message_bytes", total, "{} bytes in the frames of a message")


_encoder = msgspec.msgpack.Encoder()
