"""Values on the wire: plain ones stand for themselves, everything else is a list that begins with a tag (see bridge/value.ts)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Set
from typing import Any

from .objects import Objects
from .tensors import Frames, is_array, read_tensor
from .wire import Limits, WireError

REFERENCE, LIST, TUPLE, DICT, TENSOR, BIGINT, FLOAT, SLICE = range(8)

# What msgpack carries by itself; its extensions (dates and others) are nobody's here.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
_INT64_LOWEST, _INT64_HIGHEST = -(2**63), 2**64 - 1


class Decoder:
    """Turns the arguments of a batch into Python values."""

    __slots__ = ("_depth", "_first", "_frames", "_limits", "_objects", "_text")

    def __init__(self, objects: Objects, first: int, frames: list[Any], limits: Limits) -> None:
        self._objects = objects
        self._first = first
        self._frames = frames
        self._limits = limits
        self._depth = limits.depth
        # In characters of four bytes, which are the longest.
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
        raise WireError(f"a value of unknown kind {tag!r}")


def encode_settled(value: Any, frames: Frames) -> Any:
    """The scalar itself, or what kind of object it is. Exact types only: an IntEnum or a NumPy number stays an object."""
    kind = type(value)
    if kind is int:
        return _encode_int(value, frames, "value")
    if kind is str:
        return _encode_str(value, frames, "value")
    if value is None or kind is float or kind is bool:
        return value
    return [REFERENCE, kind.__name__]


def encode_plain(value: Any, frames: Frames, path: str = "value", depth: int = 0) -> Any:
    """Containers converted, tensors as arrays; anything else is an error that names its path."""
    kind = type(value)
    frames.count(9, path)
    if value is None or kind is float or kind is bool:
        return value
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return _encode_int(int(value), frames, path)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return _encode_str(str(value), frames, path)
    if isinstance(value, (bytes, bytearray, memoryview)):
        frames.text(value.nbytes if isinstance(value, memoryview) else len(value), path)
        return bytes(value)
    if is_array(value):
        return [TENSOR, *frames.add(value, path)]
    nested = _containers(value)
    if nested is not None:
        frames.limits.check("depth", depth + 1, path + " is nested {} deep (or contains itself)")
        return nested(frames, path, depth + 1)
    raise TypeError(
        f"{path} is a {kind.__module__}.{kind.__qualname__}, which has no JavaScript counterpart; ask for parts of it, or for py.str(ref)"
    )


def _containers(value: Any) -> Callable[[Frames, str, int], Any] | None:
    if isinstance(value, Mapping):
        return lambda frames, path, depth: [
            DICT,
            *(
                encode_plain(part, frames, f"{path}[{key!r}]", depth)
                for key, item in value.items()
                for part in (key, item)
            ),
        ]
    if isinstance(value, (list, tuple, Set, range)) or type(value).__name__ in ("dict_keys", "dict_values", "dict_items"):
        return lambda frames, path, depth: [
            LIST,
            *(encode_plain(item, frames, f"{path}[{i}]", depth) for i, item in enumerate(value)),
        ]
    return None


def _encode_str(value: str, frames: Frames, path: str) -> str:
    # Half a surrogate pair is an error here, where it is this operation's own.
    frames.text(len(value) if value.isascii() else len(value.encode()), path)
    return value


def _encode_int(value: int, frames: Frames, path: str) -> Any:
    # 2**53 is not a safe integer there, yet msgpackr reads it as a number, which would come back as a float.
    if _INT64_LOWEST <= value <= _INT64_HIGHEST and abs(value) != 2**53:
        return value
    text = f"{value:x}"
    frames.text(len(text), path)
    return [BIGINT, text]
