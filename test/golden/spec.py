"""The wire as its documents say it: msgpack in its smallest forms, and the header of version 1."""

from __future__ import annotations

import struct
from typing import Any

class Wide(int):
    """An integer in eight bytes: msgpackr writes bigints so, and safe integers past 32 bits are given to it as bigints."""


def pack(value: Any) -> bytes:
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, Wide):
        return struct.pack(">Bq", 0xD3, value) if value < 2**63 else struct.pack(">BQ", 0xCF, value)
    if isinstance(value, int):
        return pack_int(value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        text = value.encode()
        return sized(len(text), (0xA0, 32), (0xD9, 0xDA, 0xDB)) + text
    if isinstance(value, bytes):
        return sized(len(value), None, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, list):
        return sized(len(value), (0x90, 16), (None, 0xDC, 0xDD)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        items = b"".join(pack(part) for item in value.items() for part in item)
        return sized(len(value), (0x80, 16), (None, 0xDE, 0xDF)) + items
    raise TypeError(value)


def pack_int(n: int) -> bytes:
    if -32 <= n < 128:
        return struct.pack(">b", n)
    for code, form in zip((0xCC, 0xCD, 0xCE, 0xCF) if n >= 0 else (0xD0, 0xD1, 0xD2, 0xD3), "BHIQ" if n >= 0 else "bhiq"):
        try:
            return struct.pack(f">B{form}", code, n)
        except struct.error:
            continue
    raise OverflowError(n)


def sized(n: int, fixed: tuple[int, int] | None, codes: tuple[int | None, ...]) -> bytes:
    if fixed is not None and n < fixed[1]:
        return bytes([fixed[0] | n])
    for code, form, most in zip(codes, "BHI", (2**8, 2**16, 2**32)):
        if code is not None and n < most:
            return struct.pack(f">B{form}", code, n)
    raise OverflowError(n)


TYPES = ["hello", "welcome", "batch", "reply", "ping", "pong", "log", "close", "closed", "fatal", "ack", "call"]
FIELDS = {"type": 5, "flags": 0, "frames": 0, "session": 1, "parentCall": 0, "seq": 0, "ack": 0, "metaBytes": 0, "totalBytes": 0}


def header(magic: bytes = b"TW", major: int = 1, minor: int = 0, **fields: int) -> bytes:
    f = FIELDS | fields
    return (
        magic
        + struct.pack("<BBBBH", major, minor, f["type"], f["flags"], f["frames"])
        + struct.pack("<II", f["session"], f["parentCall"])
        + struct.pack("<QI", f["seq"], f["metaBytes"])
        + struct.pack("<IQ", f["ack"], f["totalBytes"])
    )


def message(kind: str, meta: Any, behind: list[bytes] = [], **fields: int) -> list[bytes]:  # noqa: B006 (never written to)
    body = meta if isinstance(meta, bytes) else pack(meta)
    head = header(
        **{
            "type": TYPES.index(kind) + 1,
            "frames": len(behind),
            "metaBytes": len(body),
            "totalBytes": sum(map(len, behind)),
        }
        | fields
    )
    return [head + body, *behind]
