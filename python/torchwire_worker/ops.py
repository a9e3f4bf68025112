"""The operations of a batch. msgspec checks the type of every field before anything is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

from .wire import Limits, WireError

T = TypeVar("T")


class Import(msgspec.Struct, array_like=True, tag=0, forbid_unknown_fields=True):
    module: str


class Get(msgspec.Struct, array_like=True, tag=1, forbid_unknown_fields=True):
    target: int
    names: list[str]


class Call(msgspec.Struct, array_like=True, tag=2, forbid_unknown_fields=True):
    target: int
    names: list[str]
    args: list[Any]
    kwargs: dict[str, Any]


class Set(msgspec.Struct, array_like=True, tag=3, forbid_unknown_fields=True):
    target: int
    name: str
    value: Any


class Del(msgspec.Struct, array_like=True, tag=4, forbid_unknown_fields=True):
    target: int
    name: str


class GetItem(msgspec.Struct, array_like=True, tag=5, forbid_unknown_fields=True):
    target: int
    key: Any


class SetItem(msgspec.Struct, array_like=True, tag=6, forbid_unknown_fields=True):
    target: int
    key: Any
    value: Any


class DelItem(msgspec.Struct, array_like=True, tag=7, forbid_unknown_fields=True):
    target: int
    key: Any


class Fetch(msgspec.Struct, array_like=True, tag=8, forbid_unknown_fields=True):
    target: int
    mode: int


class Release(msgspec.Struct, array_like=True, tag=9, forbid_unknown_fields=True):
    ranges: list[int]

    def __post_init__(self) -> None:
        _pairs(self.ranges)


class Arguments(msgspec.Struct, array_like=True, tag=10, forbid_unknown_fields=True):
    count: int


class Return(msgspec.Struct, array_like=True, tag=11, forbid_unknown_fields=True):
    value: Any


class Raise(msgspec.Struct, array_like=True, tag=12, forbid_unknown_fields=True):
    number: int
    message: str
    stack: str


Op = Import | Get | Call | Set | Del | GetItem | SetItem | DelItem | Fetch | Release | Arguments | Return | Raise


class ContextLayer(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    mode: Literal["inference", "no_grad", "grad"] | None
    eval: list[int]
    train: list[int]
    rng: bool


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    # The position of the first operation. Every link of a chain and every result takes one more.
    first: int
    operations: msgspec.Raw
    lane: int = 0
    generation: int = 0
    contexts: list[ContextLayer] = []
    finalised: list[int] = []
    ended_contexts: list[int] = []
    # The client's functions among the arguments: the id of each in this batch, its number, its name.
    functions: list[tuple[int, int, str]] = []

    def __post_init__(self) -> None:
        _pairs(self.finalised)


class Settings(msgspec.Struct):
    """Settings of the whole process."""

    device: str = "auto"
    seed: int | None = None
    deterministic: bool | Literal["warn"] = False
    threads: int | None = None
    malloc: bool = True


class Hello(msgspec.Struct):
    token: str
    client: dict[str, str]
    limits: dict[str, int]
    # Sent by a client that has not started this worker.
    settings: Settings | None = None
    # The client has been welcomed before.
    resumes: bool = False
    # The process that had the worker and has ended, by the number that BUSY gave.
    replaces: str | None = None


def _pairs(ranges: list[int]) -> None:
    if len(ranges) % 2:
        raise ValueError("ranges are pairs of a first and a last id")


class Known(list[Op]):
    """Operations whose bytes may come again. What is prepared of them is kept with them."""

    def __init__(self, operations: list[Op]) -> None:
        super().__init__(operations)
        self.runs = 0
        self.plan: Any = None


def read_batch(meta: bytes | memoryview, limits: Limits) -> tuple[Batch, list[Op]]:
    batch = _read(_decode_batch, meta, "a batch")
    raw = bytes(batch.operations)
    operations: list[Op] | None = _known.get(raw)
    if operations is None:
        operations = _read(_decode_operations, raw, "a batch", ", in its operations")
        if len(raw) <= _LONGEST_KNOWN:
            operations = _known.add(raw, Known(operations))
    limits.check("ops", len(operations), "{} operations in a batch")
    return batch, operations


def read_hello(meta: bytes | memoryview) -> Hello:
    return _read(_decode_hello, meta, "a greeting")


def _read(decode: Callable[[bytes | memoryview], T], meta: bytes | memoryview, what: str, where: str = "") -> T:
    try:
        return decode(meta)
    except (ValueError, RecursionError, MemoryError) as error:
        # ValueError covers msgspec's own errors, and text that is not UTF-8.
        raise WireError(f"{what} that is not one{where}: {error}") from None


_decode_batch = msgspec.msgpack.Decoder(Batch).decode
_decode_operations = msgspec.msgpack.Decoder(list[Op]).decode

# Decoded operations take less than twenty times their bytes: together they stay below 40 MiB. What is prepared of them
# takes twice as much.
_MOST_KNOWN, _MOST_KNOWN_BYTES = 256, 2 * 2**20
# 256 operations, of which a client makes a batch, are rarely longer.
_LONGEST_KNOWN = 64 * 2**10


class _Decoded(dict[bytes, Known]):
    """Operations by their bytes. Each step of a loop sends the same ones: decode them once."""

    size = 0

    def add(self, raw: bytes, operations: Known) -> Known:
        if len(self) >= _MOST_KNOWN or self.size + len(raw) > _MOST_KNOWN_BYTES:
            self.clear()
            self.size = 0
        self.size += len(raw)
        self[raw] = operations
        return operations


_known = _Decoded()
_decode_hello = msgspec.msgpack.Decoder(Hello).decode
