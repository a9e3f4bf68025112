"""Values on the wire: plain ones stand for themselves; all others are lists that begin with a tag
(bridge/values/value.ts).
"""

from __future__ import annotations

import struct
import sys
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from typing import Any

from .errors import class_name
from .objects import Objects
from .tensors import Frames, is_array, read_tensor
from .wire import Limits, WireError

REFERENCE, LIST, TUPLE, DICT, TENSOR, BIGINT, FLOAT, SLICE, FUNCTION = range(9)

# Types that msgpack carries by itself. Its extensions (dates and others) are not used.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
_INT64_LOWEST, _INT64_HIGHEST = -(2**63), 2**64 - 1


class Decoder:
    """Turns the arguments of a batch into Python values."""

    __slots__ = ("_depth", "_first", "_frames", "_functions", "_limits", "_objects", "_text")

    def __init__(
        self, objects: Objects, first: int, frames: list[Any], limits: Limits, functions: Sequence[Any] = ()
    ) -> None:
        self._functions = functions
        self._objects = objects
        self._first = first
        self._frames = frames
        self._limits = limits
        self._depth = limits.depth
        # In characters: the longest have four bytes.
        self._text = limits.text_bytes // 4

    def __call__(self, token: Any, depth: int = 0) -> Any:
        kind = type(token)
        if kind is not list:
            if kind not in _PLAIN:
                raise WireError(f"a {kind.__name__} among the arguments; a dict is sent as [3, key, value, …]")
            if (kind is str or kind is bytes) and len(token) > self._text:
                self._limits.check("text_bytes", len(token.encode() if kind is str else token), "text of {} bytes")
            return token
        try:
            if token[0] == REFERENCE:
                name = token[1]
                return self._objects[name if name >= 0 else self._first - 1 - name]
            return self._tagged(token, depth + 1)
        except (IndexError, TypeError, ValueError, struct.error) as error:
            raise WireError(f"a malformed value, {str(token)[:200]}: {error}") from error

    def _tagged(self, token: list[Any], depth: int) -> Any:
        tag = token[0]
        if depth > self._depth and tag != FLOAT and tag != BIGINT:
            self._limits.check("depth", depth, "a value nested {} deep")
        if tag == LIST:
            return [self(item, depth) for item in token[1:]]
        if tag == TUPLE:
            return tuple([self(item, depth) for item in token[1:]])
        if tag == DICT:
            items = [self(item, depth) for item in token[1:]]
            return dict(zip(items[::2], items[1::2], strict=True))
        if tag == TENSOR:
            _, index, dtype, shape, *count = token
            (count,) = count or (1,)
            return read_tensor(self._frames, index, dtype, shape, count, self._limits)
        if tag == BIGINT:
            return int(token[1], 16)
        if tag == FLOAT:
            return struct.unpack("<d", token[1])[0]
        if tag == SLICE:
            return slice(*[self(part, depth) for part in token[1:]])
        if tag == FUNCTION:
            return self._functions[token[1]]
        raise WireError(f"a value of unknown kind {tag!r}")


def is_plain(token: Any) -> bool:
    """Return whether it stands for itself."""
    return type(token) in _PLAIN


def is_dict(token: Any) -> bool:
    """Return whether the client wrote out a dict there, and did not refer to one."""
    return isinstance(token, (list, tuple)) and len(token) > 0 and token[0] == DICT


def encode_settled(value: Any, frames: Frames) -> Any:
    """Return the scalar itself, or the class of the object. Only exact types are scalars: an IntEnum or a NumPy number
    is an object.
    """
    kind = type(value)
    if kind is int:
        return _encode_int(value, frames, "value")
    if kind is str:
        return _encode_str(value, frames, "value")
    if value is None or kind is float or kind is bool:
        return value
    return [REFERENCE, class_name(kind)]


def encode_plain(value: Any, frames: Frames, path: str = "value", depth: int = 0) -> Any:
    """Convert containers, and send tensors as arrays. For anything else, raise an error that names its path.

    A subclass of a plain type is encoded as that type, by the type's own methods: its own may say something else, or
    raise.
    """
    kind = type(value)
    frames.count(9, path)
    if value is None or kind is float or kind is bool:
        return value
    if issubclass(kind, int):
        return _encode_int(int.__int__(value), frames, path)
    if issubclass(kind, float):
        return float.__float__(value)
    if issubclass(kind, str):
        return _encode_str(str.__str__(value), frames, path)
    for base in (bytes, bytearray):
        if issubclass(kind, base):
            frames.text(base.__len__(value), path)
            return bytes(base.__getitem__(value, slice(None)))
    if kind is memoryview:
        frames.text(value.nbytes, path)
        return value.tobytes()
    if is_array(kind):
        return [TENSOR, *frames.add(value, path)]
    entries, items = _entries(value, kind), _items(value, kind)
    if entries is not None or items is not None:
        frames.limits.check("depth", depth + 1, path + " is nested {} deep (or contains itself)")
    if entries is not None:
        return [DICT, *_encode_entries(entries, frames, path, depth + 1)]
    if items is not None:
        return [LIST, *(encode_plain(item, frames, f"{path}[{i}]", depth + 1) for i, item in enumerate(items))]
    scalar = _scalar(value, kind)
    if scalar is not None:
        return encode_plain(scalar, frames, path, depth)
    raise TypeError(
        f"{path} is a {kind.__module__}.{kind.__qualname__}, which has no JavaScript counterpart; ask for parts of it, "
        "or for py.str(ref)"
    )


def _entries(value: Any, kind: type) -> Iterable[tuple[Any, Any]] | None:
    # An OrderedDict keeps its own order.
    for base in (OrderedDict, dict):
        if issubclass(kind, base):
            return base.items(value)
    return ItemsView(value) if issubclass(kind, Mapping) else None


def _items(value: Any, kind: type) -> Iterable[Any] | None:
    for base in (list, tuple, set, frozenset):
        if issubclass(kind, base):
            return base.__iter__(value)
    return value if issubclass(kind, (Set, ValuesView, range)) else None


def _encode_entries(items: Iterable[tuple[Any, Any]], frames: Frames, path: str, depth: int) -> Iterator[Any]:
    for key, item in items:
        token = encode_plain(key, frames, f"a key of {path}", depth)
        yield token
        # Name the key as it was sent: its own repr may be anything.
        yield encode_plain(item, frames, f"{path}[{'…' if isinstance(token, list) else repr(token)}]", depth)


def _scalar(value: Any, kind: type) -> bool | int | float | None:
    """Return the number that equals a NumPy scalar. None if there is none: complex and long numbers, dates, records."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(kind, numpy.generic) or issubclass(kind, (numpy.datetime64, numpy.timedelta64)):
        return None
    plain = numpy.generic.item(value)
    return plain if type(plain) in (bool, int, float) else None


def _encode_str(value: str, frames: Frames, path: str) -> str:
    # Half of a surrogate pair is an error here, where this operation is to blame for it.
    frames.text(len(value) if value.isascii() else len(value.encode()), path)
    return value


def _encode_int(value: int, frames: Frames, path: str) -> Any:
    # 2**53 is not a safe integer in JavaScript, yet msgpackr reads it as a number, which would come back as a float.
    if _INT64_LOWEST <= value <= _INT64_HIGHEST and abs(value) != 2**53:
        return value
    text = f"{value:x}"
    frames.text(len(text), path)
    return [BIGINT, text]
