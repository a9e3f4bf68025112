"""Wire version 1: a fixed header and a msgpack map in the first frame, each tensor's bytes in a frame of its own."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

import msgspec

MAGIC = 0x5754
MAJOR = 1
MINOR = 0
URGENT = 1

# magic, major, minor, type, flags, frames, session, parent call, seq, meta bytes, reserved, total bytes
_HEADER = struct.Struct("<HBBBBHIIQIIQ")
HEADER_BYTES = _HEADER.size


class WireError(Exception):
    """A message that is not understood. Nothing of it was run."""


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


class Limits(msgspec.Struct, rename="camel", frozen=True):
    frame_bytes: int = 2**32 - 4096
    frames: int = 1024
    meta_bytes: int = 64 * 2**20
    ops: int = 4096
    depth: int = 64
    dims: int = 64


class Header(NamedTuple):
    type: MessageType
    flags: int
    frames: int
    session: int
    parent_call: int
    seq: int
    meta_bytes: int
    total_bytes: int


def encode(type: MessageType, meta: object, seq: int = 0, frames: int = 0, total_bytes: int = 0) -> bytes:
    """Header and meta of a message whose frames are sent behind it."""
    body = _encoder.encode(meta)
    return _HEADER.pack(MAGIC, MAJOR, MINOR, type, 0, frames, 1, 0, seq, len(body), 0, total_bytes) + body


def read_header(head: bytes | memoryview, limits: Limits) -> Header:
    if len(head) < HEADER_BYTES:
        raise WireError(f"{len(head)} bytes, a header has {HEADER_BYTES}")
    magic, major, minor, kind, flags, frames, session, parent_call, seq, meta_bytes, _, total = _HEADER.unpack_from(head)
    if magic != MAGIC:
        raise WireError("it does not begin with TW")
    if major != MAJOR:
        raise WireError(f"protocol version {major}.{minor}, this side speaks {MAJOR}.{MINOR}: update the older of the two")
    if not MessageType.HELLO <= kind <= MessageType.FATAL:
        raise WireError(f"message type {kind} is unknown")
    if flags & ~URGENT:
        raise WireError(f"flags {flags} are unknown")
    if meta_bytes != len(head) - HEADER_BYTES:
        raise WireError(f"{len(head) - HEADER_BYTES} bytes of meta, its header says {meta_bytes}")
    if meta_bytes > limits.meta_bytes:
        raise WireError(f"{meta_bytes} bytes of meta, the limit is {limits.meta_bytes}")
    if frames > limits.frames:
        raise WireError(f"{frames} frames, the limit is {limits.frames}")
    return Header(MessageType(kind), flags, frames, session, parent_call, seq, meta_bytes, total)


def check_frames(header: Header, sizes: list[int]) -> None:
    if len(sizes) != header.frames:
        raise WireError(f"{len(sizes)} frames, its header says {header.frames}")
    if sum(sizes) != header.total_bytes:
        raise WireError(f"{sum(sizes)} bytes of frames, its header says {header.total_bytes}")


_encoder = msgspec.msgpack.Encoder()
