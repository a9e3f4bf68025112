"""Messages that must be refused, by either side or by both."""

from __future__ import annotations

from typing import Any

from messages import CONTEXTS_BATCH
from spec import header, message, pack


def ping(meta: Any = {}, behind: list[bytes] = [], **fields: int) -> list[bytes]:  # noqa: B006 (never written to)
    return message("ping", meta, behind, **fields)


def refused_messages() -> list[dict[str, Any]]:
    out = []

    def refuse(name: str, parts: list[bytes], says: str, by: str = "both", limits: dict[str, int] | None = None) -> None:
        sides = ["client", "worker"] if by == "both" else [by]
        out.append({"name": name, "by": sides, "limits": limits or {}, "hex": [part.hex() for part in parts], "says": says})

    good = ping()[0]
    refuse("no bytes at all", [b""], "0 bytes")
    refuse("a cut header", [good[:39]], "39 bytes")
    refuse("another magic", [header(magic=b"PK", metaBytes=1) + b"\x80"], "TW")
    refuse("a newer major version", [header(major=2, minor=7, metaBytes=1) + b"\x80"], "protocol version 2.7, this side speaks 1.0; ")
    refuse("an older major version", [header(major=0, minor=9, metaBytes=1) + b"\x80"], "protocol version 0.9, this side speaks 1.0; ")
    refuse("type 0", ping(type=0), "type 0")
    refuse("a type past the last", ping(type=13), "type 13")
    refuse("a flag nobody knows", ping(flags=2), "flags 2")
    refuse("all flags", ping(flags=255), "flags 255")
    refuse("a count past 2^53", ping(seq=2**53), "2^53", by="client")
    refuse("a total past 2^53", ping(totalBytes=2**63), "2^53", by="client")
    refuse("a cut meta", [good[:-1]], "0 bytes of meta")
    refuse("a padded meta", [good + b"\0"], "2 bytes of meta")
    refuse("a frame that is not there", ping(frames=1), "0 frames")
    refuse("a frame too many", [*ping(), b"x"], "1 frames")
    refuse("frames shorter than they say", ping({}, [b"abc"], totalBytes=4), "3 bytes of frames")
    refuse("frames longer than they say", ping({}, [b"abc", b"d"], totalBytes=3), "4 bytes of frames")
    refuse("a total that overflows", ping({}, [b"abc"], totalBytes=2**53 - 1), "3 bytes of frames")
    refuse("more frames than the limit", ping({}, [b""] * 3), "the limit is 2", limits={"frames": 2})
    refuse("more meta than the limit", ping({"a": "x" * 20}), "the limit is 16", limits={"metaBytes": 16})
    refuse("more bytes in its frames than the limit", ping({}, [b"abcd"] * 3), "the limit is 8", limits={"messageBytes": 8})
    for name, meta in (
        ("a list", [1]),
        ("null", None),
        ("a number", 7),
        ("a string", "meta"),
        ("bytes", b"meta"),
        ("nothing", b""),
        ("a cut map", b"\x81\xa1a"),
        ("two maps", b"\x80\x80"),
        ("a date (an extension)", b"\xd6\xff\x00\x00\x00\x00"),
        ("a byte that msgpack does not use", b"\xc1"),
    ):
        raw = meta if isinstance(meta, bytes) and name != "bytes" else pack(meta)
        refuse(f"a meta that is {name}", message("batch", raw), "meta", by="client")
        refuse(f"a batch that is {name}", message("batch", raw), "a batch that is not one", by="worker")
    return out


def refused_batches() -> list[dict[str, Any]]:
    out = []

    def refuse(name: str, meta: Any, says: str, limits: dict[str, int] | None = None) -> None:
        out.append({"name": name, "limits": limits or {}, "hex": (meta if isinstance(meta, bytes) else pack(meta)).hex(), "says": says})

    def op(*operation: Any) -> dict[str, Any]:
        return CONTEXTS_BATCH | {"operations": [list(operation)]}

    refuse("a batch without its first place", {k: v for k, v in CONTEXTS_BATCH.items() if k != "first"}, "first")
    refuse("a batch with a field nobody knows", CONTEXTS_BATCH | {"extra": 1}, "extra")
    refuse("a lane that is text", CONTEXTS_BATCH | {"lane": "0"}, "lane")
    refuse("an operation nobody knows", op(13, 1), "13")
    refuse("a count of arguments that is text", op(10, "2"), "operations")
    refuse("a function without a name", CONTEXTS_BATCH | {"functions": [[1, 1]]}, "functions")
    refuse("an operation without a code", op(), "operations")
    refuse("an operation that is a map", CONTEXTS_BATCH | {"operations": [{"op": 1}]}, "operations")
    refuse("a call without arguments", op(2, 1, ["f"]), "operations")
    refuse("a call with a field too many", op(2, 1, ["f"], [], {}, 5), "operations")
    refuse("a name that is a number", op(3, 1, 5, None), "str")
    refuse("a target that is a float", op(1, 1.5, ["a"]), "int")
    refuse("a target that is text", op(1, "1", ["a"]), "int")
    refuse("keywords that are no text", op(2, 1, ["f"], [], {1: 2}), "str")
    refuse("half a range to free", op(9, [1, 2, 3]), "ranges")
    refuse("half a range that was finalised", CONTEXTS_BATCH | {"finalised": [1]}, "ranges")
    refuse("a mode nobody knows", CONTEXTS_BATCH | {"contexts": [{"id": 1, "mode": "eval", "eval": [], "train": [], "rng": False}]}, "mode")
    refuse("text that is not UTF-8", pack(op(0, "torch")).replace(b"torch", b"t\xffrch"), "utf-8")
    refuse("lists nested without end", pack(op(3, 1, "a", "HERE")).replace(pack("HERE"), b"\x91" * 10000 + b"\x90"), "recursion")
    refuse("a list of four thousand million items", pack(op(3, 1, "a", "HERE")).replace(pack("HERE"), b"\xdd" + b"\xff" * 4), "truncated")
    refuse("more operations than the limit", CONTEXTS_BATCH | {"operations": [[8, 1, 0]] * 3}, "the limit is 2", {"ops": 2})
    return out


def refused_values() -> list[dict[str, Any]]:
    out = []

    def refuse(name: str, token: Any, says: str, frames: list[bytes] = [], by: str = "worker", limits: dict[str, int] | None = None) -> None:  # noqa: B006
        sides = ["client", "worker"] if by == "both" else [by]
        hex = (token if isinstance(token, bytes) else pack(token)).hex()
        out.append({"name": name, "by": sides, "limits": limits or {}, "hex": hex, "frames": [frame.hex() for frame in frames], "says": says})

    eight = [bytes(8)]
    refuse("a tag nobody knows", [9, 1], "kind 9", by="both")
    refuse("a tag that is text", ["list", 1], "kind", by="both")
    refuse("a value without a tag", [], "", by="both")
    refuse("a map", {"a": 1}, "a dict is sent as")
    refuse("a date (an extension)", b"\xd6\xff\x00\x00\x00\x00", "datetime")
    refuse("an extension of nobody's", b"\xd4\x05\x01", "Ext")
    refuse("a key without a value", [3, "a"], "malformed")
    refuse("a key that cannot be one", [3, [1, 1], 2], "malformed")
    refuse("an integer that is no hexadecimal", [5, "xyz"], "malformed")
    refuse("a float of three bytes", [6, b"abc"], "malformed")
    refuse("a float that is text", [6, "12345678"], "malformed")
    refuse("a slice of four parts", [7, 1, 2, 3, 4], "malformed")
    refuse("a reference that is a list", [0, [1, 1]], "malformed")
    refuse("a reference to nothing", [0], "malformed")
    refuse("a value nested too deep", [1, [1, [1, []]]], "nested 3 deep, the limit is 2", by="both", limits={"depth": 2})
    refuse("text past the limit", [1, "é" * 40], "80 bytes, the limit is 64", limits={"textBytes": 64})
    refuse("bytes past the limit", b"\xc4\x41" + bytes(65), "65 bytes, the limit is 64", limits={"textBytes": 64})
    refuse("a tensor without a frame", [4, 0, "float32", [2]], "", by="both")
    refuse("a tensor in the next frame", [4, 1, "float32", [2]], "", eight, by="both")
    refuse("a tensor that is cut", [4, 0, "float32", [3]], "", eight, by="both")
    refuse("a tensor that is padded", [4, 0, "float32", [1]], "", eight, by="both")
    refuse("a dtype nobody knows", [4, 0, "complex128", [1]], "", [bytes(16)], by="both")
    refuse("a dtype that torch has and JavaScript has not", [4, 0, "uint16", [4]], "", eight, by="both")
    refuse("half a complex number", [4, 0, "complex64", [2]], "", eight, by="both")
    refuse("a bool that is 2", [4, 0, "bool", [3]], "a bool is 0 or 1", [b"\0\1\2"])
    refuse("no frames", [4, 0, "uint8", [0], 0], "", [b""], by="both")
    refuse("more frames than there are", [4, 0, "uint8", [8], 2], "", eight, by="both")
    refuse("frames from before the first", [4, -1, "uint8", [8], 1], "", eight, by="both")
    refuse("a fraction of a frame", [4, 0, "uint8", [8], 1.0], "", eight)
    refuse("frames that are cut", [4, 0, "uint8", [8], 2], "", [bytes(4), bytes(3)], by="both")
    refuse("frames that are padded", [4, 0, "uint8", [8], 2], "", [bytes(4), bytes(5)], by="both")
    refuse("a sixth part", [4, 0, "uint8", [8], 1, 1], "", eight)
    refuse("a dtype that is an attribute of torch", [4, 0, "Tensor", [8]], "", eight, by="both")
    refuse("negative dimensions", [4, 0, "uint8", [-2, -4]], "", eight, by="both")
    refuse("a negative dimension beside a zero", [4, 0, "uint8", [0, -1]], "", [b""], by="both")
    refuse("a fraction of a dimension", [4, 0, "uint8", [0.5, 16.0]], "", eight, by="both")
    refuse("a dimension that is text", [4, 0, "uint8", ["8"]], "", eight, by="both")
    refuse("a dimension that is true", [4, 0, "uint8", [True, 8]], "", eight, by="both")
    refuse("a shape that is a number", [4, 0, "uint8", 8], "", eight, by="both")
    refuse("dimensions whose product overflows", [4, 0, "uint8", [2**40, 2**40]], "", eight, by="both")
    refuse("dimensions whose product overflows to zero", [4, 0, "uint8", [2**32, 2**32]], "", [b""], by="both")
    refuse("dimensions whose bytes overflow to zero", [4, 0, "float64", [2**61]], "", [b""], by="both")
    refuse("strides that overflow beside a zero", [4, 0, "uint8", [0, 2**40, 2**40]], "64 bits", [b""])
    refuse("a dimension past 64 bits beside a zero", [4, 0, "uint8", [0, 2**64 - 1]], "", [b""], by="both")
    refuse("more dimensions than the limit", [4, 0, "uint8", [1] * 65], "65 dimensions, the limit is 64", [b"x"])
    return out


