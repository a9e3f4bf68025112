"""Prepares the arguments of operations: a constant is made once, and all else by a function that reads it at each run
(values.py has the form of a value on the wire).
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable
from typing import Any

from .tensors import ITEM_SIZES, alignment_of
from .values import BIGINT, DICT, FLOAT, LIST, REFERENCE, SLICE, TENSOR, TUPLE, is_plain
from .wire import Limits

# Reads a value from what the batch has made, the table of objects, or the run.
Read = Callable[[list[Any], Any, Any], Any]


class Irregular(Exception):
    """It cannot be prepared."""


class Names:
    """What the operations so far have made and kept, and the readers of what later ones name."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._text = limits.text_bytes // 4
        # The next place, and those that hold something.
        self.made = 0
        self.alive: set[int] = set()
        # The highest id that was named of what was there before the batch.
        self.highest = 0

    def make(self) -> int:
        self.alive.add(self.made)
        self.made += 1
        return self.made - 1

    def skip(self) -> None:
        self.made += 1

    def place(self, name: int) -> tuple[bool, int]:
        """Return whether it names a place of this batch, and that place or the id."""
        if type(name) is not int:
            raise Irregular
        if name >= 0:
            self.highest = max(self.highest, name)
            return False, name
        # (What follows cannot be read, nor what was released.)
        if -1 - name not in self.alive:
            raise Irregular
        return True, -1 - name

    def all_of(self, tokens: list[Any], depth: int = 0) -> tuple[tuple[Any, ...] | None, Read]:
        """Return the values if all are constants, and a reader of them."""
        parts = [self._value(token, depth) for token in tokens]
        if all(reader is None for _, reader in parts):
            constants = tuple([constant for constant, _ in parts])
            return constants, lambda made, objects, run: constants
        own = [-1 - token[1] for token in tokens if type(token) is list and token[0] == REFERENCE and token[1] < 0]
        if len(own) == len(tokens):
            return None, _own(own)
        return None, _sequence([_reader(part) for part in parts])

    def named(self, tokens: dict[str, Any]) -> Read:
        return _dict([*tokens], [self.read(token) for token in tokens.values()])

    def read(self, token: Any) -> Read:
        return _reader(self._value(token, 0))

    def _value(self, token: Any, depth: int) -> tuple[Any, Read | None]:
        """Return a constant, or None and its reader."""
        if type(token) is not list:
            if not is_plain(token) or (isinstance(token, (str, bytes)) and len(token) > self._text):
                raise Irregular
            return token, None
        try:
            return self._tagged(token, depth + 1)
        except (IndexError, TypeError, ValueError, KeyError, struct.error):
            raise Irregular from None

    def _tagged(self, token: list[Any], depth: int) -> tuple[Any, Read | None]:
        tag, *rest = token
        if tag == REFERENCE:
            (name,) = rest
            return None, _reference(*self.place(name))
        if tag == FLOAT:
            return struct.unpack("<d", rest[0])[0], None
        if tag == BIGINT:
            return int(rest[0], 16), None
        if depth > self._limits.depth:
            raise Irregular
        if tag == TENSOR:
            return None, self._tensor(token, *rest)
        if tag == DICT:
            # (Keys that have no hash are found here.)
            keys = [*{self._constant(key, depth): None for key in rest[::2]}]
            if 2 * len(keys) != len(rest):
                raise Irregular
            return None, _dict(keys, [_reader(self._value(item, depth)) for item in rest[1::2]])
        constants, read = self.all_of(rest, depth)
        if tag == LIST:
            return None, _list(constants, read)
        if tag == TUPLE:
            return (constants, None) if constants is not None else (None, _as_tuple(read))
        if tag == SLICE:
            return (slice(*constants), None) if constants is not None else (None, _slice(read))
        # A function, or none of ours.
        raise Irregular

    def _constant(self, token: Any, depth: int) -> Any:
        constant, reader = self._value(token, depth)
        if reader is not None:
            raise Irregular
        return constant

    def _tensor(self, token: Any, index: int, dtype: str, shape: list[int], count: int = 1) -> Read:
        """A tensor in one frame is read here. All else that may be sent, or be wrong, is for the decoder."""
        size, torch = ITEM_SIZES[dtype], sys.modules.get("torch")
        if torch is None or any(type(n) is not int or n < 0 for n in (*shape, index, count)):
            raise Irregular
        length = math.prod(shape) * size
        if count != 1 or length == 0 or not shape or dtype == "bool" or len(shape) > self._limits.dims:
            return lambda made, objects, run: run.decode(token)
        byte, kind, alignment = torch.uint8, getattr(torch, dtype), alignment_of(dtype)
        frombuffer = torch.frombuffer

        def tensor(made: list[Any], objects: Any, run: Any) -> Any:
            frames = run.frames
            if index >= len(frames) or len(frames[index]) != length:
                return run.decode(token)
            raw = frombuffer(frames[index], dtype=byte)
            if alignment > 1 and raw.data_ptr() % alignment:
                raw = raw.clone()
            return raw.view(*shape) if kind is byte else raw.view(kind).view(*shape)

        return tensor


def _reader(part: tuple[Any, Read | None]) -> Read:
    constant, reader = part
    return reader or (lambda made, objects, run: constant)


def _reference(own: bool, target: int) -> Read:
    if own:
        return lambda made, objects, run: made[target]
    return lambda made, objects, run: objects[target]


def _own(places: list[int]) -> Read:
    """Read what this batch has made: so are most arguments."""
    if len(places) == 1:
        (one,) = places
        return lambda made, objects, run: (made[one],)
    if len(places) == 2:
        first, second = places
        return lambda made, objects, run: (made[first], made[second])
    return lambda made, objects, run: [made[place] for place in places]


def _sequence(readers: list[Read]) -> Read:
    if len(readers) == 1:
        (one,) = readers
        return lambda made, objects, run: (one(made, objects, run),)
    return lambda made, objects, run: [read(made, objects, run) for read in readers]


def _list(constants: tuple[Any, ...] | None, read: Read) -> Read:
    # A new one each time: the program may change it.
    if constants is not None:
        return lambda made, objects, run: [*constants]
    return lambda made, objects, run: [*read(made, objects, run)]


def _as_tuple(read: Read) -> Read:
    return lambda made, objects, run: (*read(made, objects, run),)


def _slice(read: Read) -> Read:
    return lambda made, objects, run: slice(*read(made, objects, run))


def _dict(keys: list[Any], readers: list[Read]) -> Read:
    return lambda made, objects, run: {key: read(made, objects, run) for key, read in zip(keys, readers)}
