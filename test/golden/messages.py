"""Vectors of headers and whole messages."""

from __future__ import annotations

import struct
from typing import Any

from spec import FIELDS, TYPES, header, message

def headers() -> list[dict[str, Any]]:
    most = 2**53 - 1
    cases: dict[str, dict[str, int]] = {f"a header of type {name}": {"type": i + 1} for i, name in enumerate(TYPES)}
    cases |= {
        "every field, each with bytes of its own": {
            "type": 3, "flags": 1, "frames": 0x0102, "session": 0x03040506, "parentCall": 0x0708090A,
            "seq": 0x000B0C0D0E0F1011, "ack": 0x1A1B1C1D, "metaBytes": 0x12131415, "totalBytes": 0x0016171819202122,
        },
        "every field at zero": {"type": 5, "session": 0},
        "every field at its limit": {
            "type": 11, "flags": 1, "frames": 2**16 - 1, "session": 2**32 - 1, "parentCall": 2**32 - 1,
            "seq": most, "ack": 2**32 - 1, "metaBytes": 2**32 - 1, "totalBytes": most,
        },
        "counts past 32 bits": {"type": 4, "seq": 2**32, "totalBytes": 2**32 + 1},
    }  # fmt: skip
    return [{"name": name, "fields": FIELDS | fields, "hex": header(**fields).hex()} for name, fields in cases.items()]


INT32 = struct.pack("<2i", -(2**31), 2**31 - 1)
LIMITS = {
    "frameBytes": 2**30,
    "frames": 1024,
    "messageBytes": 64 * 2**30,
    "metaBytes": 64 * 2**20,
    "textBytes": 16 * 2**20,
    "ops": 4096,
    "depth": 64,
    "dims": 64,
    "inFlightOps": 1_000_000,
    "inFlightBytes": 2 * 2**30,
}

# The first messages of a session that runs: import torch; x = torch.zeros(2, 3, dtype=torch.float32); x.tag = [1.5, array];
# x[0] = -1; x[0]; del x[0]; del x.tag; torch.nn; await x.shape; x is freed.
# Its positions begin at 16; what it makes itself it names -1, -2, … What is empty or 0 is left out.
FIRST_BATCH: dict[str, Any] = {
    "first": 16,
    "operations": [
        [0, "torch"],
        [1, -1, ["float32"]],
        [2, -1, ["zeros"], [2, 3], {"dtype": [0, -2]}],
        [3, -4, "tag", [1, 1.5, [4, 0, "int32", [2]]]],
        [6, -4, 0, -1],
        [5, -4, 0],
        [7, -4, 0],
        [4, -4, "tag"],
        [1, -1, ["nn", "functional"]],
        [1, -4, ["shape"]],
        [8, -12, 1],
        [9, [-4, -4]],
    ],
}
CONTEXTS_BATCH: dict[str, Any] = {
    "lane": 3,
    "generation": 2,
    "first": 90000,
    "contexts": [
        {"id": 1, "mode": "inference", "eval": [20, 21], "train": [], "rng": True},
        {"id": 2, "mode": None, "eval": [], "train": [22], "rng": False},
    ],
    "operations": [[8, 89999, 0]],
    "finalised": [40, 44, 50, 50],
    "ended_contexts": [7],
}
# A function of the program ran for call 77: it got two references, and gives the second one back.
CALL_BATCH: dict[str, Any] = {
    "lane": 1,
    "first": 500,
    "operations": [[10, 2], [2, -1, ["mul"], [2, [8, 0]], {}], [11, [0, -2]], [9, [-1, -4]]],
    "functions": [[3, 2, "scale"]],
}
FAILURE: dict[str, Any] = {
    "type": "ValueError",
    "mro": ["ValueError", "Exception", "BaseException", "object"],
    "message": "größer",
    "frames": [{"file": "/srv/model.py", "line": 12, "name": "forward", "source": "raise ValueError(x)"}],
    "notes": ["in layer 3"],
    "cause": None,
    "operation": "Net(...)",
    "id": 33,
    "last": 34,
}


def messages() -> list[dict[str, Any]]:
    out = []

    def add(name: str, sender: str, kind: str, meta: Any, frames: list[bytes] = [], **fields: int) -> None:  # noqa: B006
        parts = message(kind, meta, frames, **fields)
        out.append({
            "name": name, "sender": sender, "type": kind, "fields": fields, "meta": notation(meta),
            "frames": [frame.hex() for frame in frames], "hex": [part.hex() for part in parts],
        })  # fmt: skip

    client = {"name": "torchwire", "version": "0.1.0", "node": "22.12.0"}
    settings = {"device": "cuda:1", "seed": 7, "deterministic": "warn", "threads": None, "malloc": True}
    hello = {"token": "ab" * 32, "client": client, "limits": {"frames": 1024, "depth": 32}, "settings": settings, "resumes": True}
    add("a greeting", "client", "hello", hello, session=3, ack=17)
    add("a confirmation that replies are here", "client", "ack", {}, ack=2**32 - 1)
    add("a batch of every operation", "client", "batch", FIRST_BATCH, [INT32], seq=1, flags=1)
    add("a batch in contexts", "client", "batch", CONTEXTS_BATCH, seq=2**32 + 7)
    add("a batch of a resumed session, in a call", "client", "batch", CONTEXTS_BATCH, seq=9, session=2, parentCall=77)
    add("a batch of a call, which ends it", "client", "batch", CALL_BATCH, seq=10, parentCall=77)
    thrown = {"lane": 2, "first": 510, "operations": [[12, 5, "Error: größer", "Error: größer\n    at train.ts:3:4"]]}
    add("a batch that ends a call with an error", "client", "batch", thrown, seq=11, parentCall=78)
    add("a question", "client", "ping", {}, seq=3)
    add("a farewell", "client", "close", {}, seq=4)
    versions = {"protocol": "1.0", "python": "3.11.9", "torch": "2.14.1"}
    add("a welcome", "worker", "welcome", {"pid": 4242, "device": "cpu", "versions": versions, "limits": LIMITS, "grace": None, "received": 5})
    add("a reply", "worker", "reply", {"replies": [[1, [25, 2.5, 26, [0, "Linear"]], None]]})
    add("a reply with frames", "worker", "reply", {"replies": [[1, [25, [4, 0, "int32", [2]]], None], [2, [30, [4, 1, "bool", [0]]], None]]}, [INT32, b""])
    add("a failure", "worker", "reply", {"replies": [[7, [], FAILURE], [8, [], None]]})
    warning = {"id": 25, "category": "UserWarning", "message": "größer", "operation": "mse_loss(...)"}
    add("a reply with warnings", "worker", "reply", {"replies": [[3, [26, 2.5], None, {"told": [warning], "left": 84}]]})
    add("a reply with an error that the program has thrown", "worker", "reply", {"replies": [[7, [], FAILURE | {"thrown": 5}]]})
    add("a reply that tells of functions that Python has freed", "worker", "reply", {"replies": [[9, [], None]], "freed": [3, 4]})
    call = {"args": [1, [0, "Tensor"], None], "kwargs": {"x": [0, "tuple"]}, "function": 3, "within": 76, "holds": True}
    add("a call", "worker", "call", call, parentCall=77)
    add("a call of another thread", "worker", "call", {"args": [], "function": 2**31}, parentCall=2**32 - 1)
    add("an idle worker", "worker", "pong", {"busy": None, "batches": 7, "objects": 12, "rss": 3 * 2**30}, seq=3)
    add("a busy worker", "worker", "pong", {"busy": 0.25, "batches": 2**33, "objects": 0, "rss": 70000}, seq=2**40)
    add("a log record", "worker", "log", {"level": 30, "logger": "torch.nn", "message": "größer 🙂"})
    add("a warning of no operation", "worker", "log", {"category": "UserWarning", "message": "größer"})
    add("a worker's farewell", "worker", "closed", {})
    add("a refusal", "worker", "fatal", {"message": "flags 254 are unknown"})
    add("a refusal that has a code", "worker", "fatal", {"message": "the worker is held by somebody", "code": "BUSY"})
    return out


def notation(value: Any) -> Any:
    if isinstance(value, float):
        return {"$float": repr(value)}
    if isinstance(value, list):
        return [notation(item) for item in value]
    return {key: notation(item) for key, item in value.items()} if isinstance(value, dict) else value


