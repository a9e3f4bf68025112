"""What a batch may ask for. msgspec checks every field's type before anything is run."""

from __future__ import annotations

from typing import Any, Union

import msgspec


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


Op = Union[Import, Get, Call, Set, Del, GetItem, SetItem, DelItem, Fetch, Release]


class ContextLayer(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    mode: str | None
    eval: list[int]
    train: list[int]
    rng: bool


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    lane: int
    generation: int
    # The position of the first operation; every link of a chain and every result takes one more.
    first: int
    contexts: list[ContextLayer]
    operations: list[Op]
    finalised: list[int]
    ended_contexts: list[int]


class Hello(msgspec.Struct):
    token: str
    client: dict[str, str]
    limits: dict[str, int]


decode_batch = msgspec.msgpack.Decoder(Batch).decode
decode_hello = msgspec.msgpack.Decoder(Hello).decode
