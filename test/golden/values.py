"""Vectors of single values: arguments on their way to Python, and replies on their way back."""

from __future__ import annotations

import struct
from typing import Any

from spec import Wide, pack

def real(text: str) -> dict[str, str]:
    return {"$float": text}


def tensor(dtype: str, shape: list[int], data: bytes) -> dict[str, Any]:
    return {"$tensor": {"dtype": dtype, "shape": shape, "hex": data.hex()}}


def view(name: str, data: bytes) -> dict[str, Any]:
    return {"$view": [name, data.hex()]}


def f8(value: float) -> bytes:
    return struct.pack("<d", value)


F32 = struct.pack("<4f", 1.5, -0.0, float("nan"), float("inf"))
F64 = struct.pack("<3d", 0.1, -0.0, float("-inf"))
I64 = struct.pack("<3q", -(2**63), 2**53 + 1, 2**63 - 1)
I32 = struct.pack("<2i", -(2**31), 2**31 - 1)
# A shape and its bytes, by dtype. The half floats are 1.5, -0, the smallest, and -infinity.
DTYPES: dict[str, tuple[list[int], bytes]] = {
    "bool": ([3], b"\1\0\1"),
    "uint8": ([2, 3], bytes(range(6))),
    "int8": ([2], struct.pack("<2b", -128, 127)),
    "int16": ([2, 1], struct.pack("<2h", -32768, 32767)),
    "int32": ([1, 2], I32),
    "int64": ([3], I64),
    "float16": ([4], struct.pack("<4H", 0x3E00, 0x8000, 0x0001, 0xFC00)),
    "bfloat16": ([2, 2], struct.pack("<4H", 0x3FC0, 0x8000, 0x0001, 0xFF80)),
    "float32": ([4], F32),
    "float64": ([3], F64),
    "complex64": ([1, 2], F32),
}
IN_PIECES = {
    "in two frames": ([6], [bytes(range(4)), bytes(range(4, 6))], 4),
    "in four frames": ([4, 2], [bytes([i, i + 1]) for i in range(0, 8, 2)], 2),
}
SAME = object()


def arguments() -> list[dict[str, Any]]:
    out = []

    def vector(name: str, js: Any, token: Any, frames: list[bytes] = [], python: Any = SAME, **limits: int) -> None:  # noqa: B006
        both = {"name": name, "js": js, "python": js if python is SAME else python, "limits": limits}
        out.append(both | {"hex": pack(token).hex(), "frames": [frame.hex() for frame in frames]})

    vector("null is None", None, None)
    vector("undefined is None", {"$undefined": True}, None, python=None)
    vector("true", True, True)
    vector("false", False, False)
    vector("the empty string", "", "")
    vector("a short string", "torch", "torch")
    vector("a string past ASCII", "größer 日本語 🙂", "größer 日本語 🙂")
    vector("a string of 40 characters", "x" * 40, "x" * 40)
    vector("a string of 300 characters", "é" * 300, "é" * 300)
    for n in (0, 1, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32 - 1, -1, -32, -33, -128, -129, -32768, -32769, -(2**31)):
        vector(f"the whole number {n}", n, n)
    for n in (2**32, -(2**31) - 1, 2**53 - 1, -(2**53) + 1):
        vector(f"the whole number {n}, past 32 bits and safe", n, Wide(n))
    for n in (5, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)):
        vector(f"the bigint {n}n", {"$int": str(n)}, Wide(n))
    vector("2^64 as a bigint", {"$int": str(2**64)}, [5, "10000000000000000"])
    vector("-2^63 - 1 as a bigint", {"$int": str(-(2**63) - 1)}, [5, "-8000000000000001"])
    vector("2^53 as a number is a float: it may be any of two integers", real("9007199254740992"), [6, f8(2.0**53)])
    vector("a fraction", real("0.1"), 0.1)
    vector("a large number", real("1e300"), [6, f8(1e300)])
    vector("the smallest number", real("5e-324"), 5e-324)
    vector("NaN", real("nan"), float("nan"))
    vector("Infinity", real("inf"), float("inf"))
    vector("-Infinity", real("-inf"), float("-inf"))
    vector("-0 is a float", real("-0.0"), [6, f8(-0.0)])
    vector("py.float(1)", {"$pyFloat": "1"}, [6, f8(1.0)], python=real("1.0"))
    vector("no bytes", {"$bytes": ""}, b"")
    vector("bytes", {"$bytes": "00ff10"}, b"\x00\xff\x10")
    vector("300 bytes", {"$bytes": "ab" * 300}, b"\xab" * 300)
    vector("an empty array", [], [1])
    vector("a nested array", [1, "a", [None]], [1, 1, "a", [1, None]])
    vector("twenty numbers", list(range(20)), [1, *range(20)])
    vector("an empty tuple", {"$tuple": []}, [2])
    vector("a tuple", {"$tuple": [3, [True]]}, [2, 3, [1, True]])
    vector("an empty object", {"$dict": []}, [3])
    vector("an object", {"$dict": [["a", 1], ["b", {"$dict": [["c", []]]}]]}, [3, "a", 1, "b", [3, "c", [1]]])
    vector("an object with a name of JavaScript's", {"$dict": [["__proto__", 1]]}, [3, "__proto__", 1])
    vector("a Map with other keys", {"$dict": [[1, "one"], [{"$tuple": [2]}, None]]}, [3, 1, "one", [2, 2], None])
    vector("a slice", {"$slice": [1, None, -2]}, [7, 1, None, -2])
    vector("a reference", {"$ref": 17}, [0, 17])
    vector("a Float32Array", view("Float32Array", F32), [4, 0, "float32", [4]], [F32], tensor("float32", [4], F32))
    vector("a Float64Array", view("Float64Array", F64), [4, 0, "float64", [3]], [F64], tensor("float64", [3], F64))
    vector("a BigInt64Array", view("BigInt64Array", I64), [4, 0, "int64", [3]], [I64], tensor("int64", [3], I64))
    vector("an Int32Array", view("Int32Array", I32), [4, 0, "int32", [2]], [I32], tensor("int32", [2], I32))
    vector("a Uint8Array", view("Uint8Array", b"\0\xff"), [4, 0, "uint8", [2]], [b"\0\xff"], tensor("uint8", [2], b"\0\xff"))
    vector("a Uint8ClampedArray", view("Uint8ClampedArray", b"\7"), [4, 0, "uint8", [1]], [b"\7"], tensor("uint8", [1], b"\7"))
    vector("an Int8Array", view("Int8Array", b"\x80"), [4, 0, "int8", [1]], [b"\x80"], tensor("int8", [1], b"\x80"))
    vector("an Int16Array", view("Int16Array", b"\0\x80"), [4, 0, "int16", [1]], [b"\0\x80"], tensor("int16", [1], b"\0\x80"))
    for dtype, (shape, data) in DTYPES.items():
        vector(f"an array of {dtype}", tensor(dtype, shape, data), [4, 0, dtype, shape], [data])
    for name, (shape, frames, most) in IN_PIECES.items():
        array = tensor("uint8", shape, b"".join(frames))
        vector(f"an array {name}", array, [4, 0, "uint8", shape, len(frames)], frames, frameBytes=most)
    for name, dtype, shape, data in (
        ("a zero-dimensional array", "float32", [], struct.pack("<f", 2.5)),
        ("an empty array of numbers", "int64", [0], b""),
        ("an empty array of three dimensions", "float64", [2, 0, 3], b""),
        ("an empty array of bits", "bfloat16", [0], b""),
    ):
        vector(name, tensor(dtype, shape, data), [4, 0, dtype, shape], [data])
    vector(
        "arrays among other things",
        [tensor("int32", [2], I32), {"$dict": [["mask", tensor("bool", [1], b"\1")]]}],
        [1, [4, 0, "int32", [2]], [3, "mask", [4, 1, "bool", [1]]]],
        [I32, b"\1"],
    )
    return out


def replies() -> list[dict[str, Any]]:
    out = []

    def vector(name: str, mode: str, python: Any, token: Any, js: Any = SAME, frames: list[bytes] = [], **limits: int) -> None:  # noqa: B006
        both = {"name": name, "mode": mode, "python": python, "js": python if js is SAME else js, "limits": limits}
        out.append(both | {"hex": pack(token).hex(), "frames": [frame.hex() for frame in frames]})

    for mode in ("settle", "js"):
        vector("None", mode, None, None)
        vector("True", mode, True, True)
        vector("a string", mode, "größer 🙂", "größer 🙂")
        for n in (0, -1, 255, 70000, 2**32, 2**53 - 1, -(2**53) + 1):
            vector(f"the int {n}", mode, n, n)
        for n in (2**53 + 1, 2**63, 2**64 - 1, -(2**63)):
            vector(f"the int {n}", mode, {"$int": str(n)}, n)
        # msgpackr takes these two for safe, and a number of that size would come back to Python as a float.
        vector("the int 2^53", mode, {"$int": str(2**53)}, [5, "20000000000000"])
        vector("the int -2^53", mode, {"$int": str(-(2**53))}, [5, "-20000000000000"])
        vector("the int 2^64", mode, {"$int": str(2**64)}, [5, "10000000000000000"])
        vector("the int -2^63 - 1", mode, {"$int": str(-(2**63) - 1)}, [5, "-8000000000000001"])
        vector("a fraction", mode, real("0.1"), 0.1)
        vector("1.0", mode, real("1.0"), 1.0, 1)
        vector("nan", mode, real("nan"), float("nan"))
        vector("inf", mode, real("inf"), float("inf"))
        vector("-inf", mode, real("-inf"), float("-inf"))
        vector("-0.0", mode, real("-0.0"), -0.0)
    vector("bytes", "js", {"$bytes": "00ff"}, b"\x00\xff")
    vector("an empty list", "js", [], [1])
    vector("a list in a tuple", "js", {"$tuple": [1, ["a", None]]}, [1, 1, [1, "a", None]], [1, ["a", None]])
    vector("a set", "js", {"$set": ["a"]}, [1, "a"], ["a"])
    vector("a range", "js", {"$range": 3}, [1, 0, 1, 2], [0, 1, 2])
    vector("an empty dict", "js", {"$dict": []}, [3])
    vector("a dict", "js", {"$dict": [["a", {"$dict": [["b", 2]]}]]}, [3, "a", [3, "b", 2]])
    vector("a dict with other keys", "js", {"$dict": [[1, "one"], ["b", None]]}, [3, 1, "one", "b", None])
    pixels = bytes(range(6))
    vector(
        "tensors in a dict",
        "js",
        {"$dict": [["x", tensor("uint8", [2, 3], pixels)], ["y", tensor("bool", [1], b"\1")]]},
        [3, "x", [4, 0, "uint8", [2, 3]], "y", [4, 1, "bool", [1]]],
        frames=[pixels, b"\1"],
    )
    for dtype, (shape, data) in DTYPES.items():
        vector(dtype, "ndarray", tensor(dtype, shape, data), [4, 0, dtype, shape], frames=[data])
    for name, (shape, frames, most) in IN_PIECES.items():
        array = tensor("uint8", shape, b"".join(frames))
        vector(f"a tensor {name}", "ndarray", array, [4, 0, "uint8", shape, len(frames)], frames=frames, frameBytes=most)
    for name, dtype, shape, data in (
        ("a zero-dimensional tensor", "float32", [], struct.pack("<f", 2.5)),
        ("an empty tensor", "int64", [0], b""),
        ("an empty tensor of three dimensions", "float64", [2, 0, 3], b""),
    ):
        vector(name, "ndarray", tensor(dtype, shape, data), [4, 0, dtype, shape], frames=[data])
    return out


