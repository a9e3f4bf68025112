"""Expressions of a script. Text from the file stands in them as a name only where Python takes it for one."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable
from typing import Any

from ..objects import WELL_KNOWN, Objects
from ..ops import Batch
from ..tensors import read_tensor
from ..values import BIGINT, DICT, FLOAT, FUNCTION, LIST, REFERENCE, SLICE, TENSOR, TUPLE, Decoder
from ..wire import Limits
from .container import Record


class Values:
    """Values of a batch as Python writes them. `keep` stores an array, and returns how the script reads it."""

    def __init__(self, record: Record, batch: Batch, limits: Limits, keep: Callable[[Any], str]) -> None:
        self._keep = keep
        self._first = batch.first
        self._functions = batch.functions
        self._limits = limits
        self._frames = record.frames
        self._decode = Decoder(Objects(), batch.first, [], self._limits)

    def __call__(self, token: Any) -> str:
        if type(token) is not list:
            return literal(self._decode(token))
        tag, *items = token
        if tag == REFERENCE:
            return variable(place(items[0], self._first))
        if tag == LIST:
            return f"[{', '.join(map(self, items))}]"
        if tag == TUPLE:
            return f"({''.join(f'{self(item)}, ' for item in items)})"
        if tag == DICT:
            pairs = zip(items[::2], items[1::2], strict=True)
            return "{" + ", ".join(f"{self(key)}: {self(value)}" for key, value in pairs) + "}"
        if tag == SLICE:
            return f"slice({', '.join(map(self, items))})"
        if tag == TENSOR:
            return self._array(*items)
        if tag == FUNCTION:
            return f"program({self._functions[items[0]][2]!r})"
        if tag in (BIGINT, FLOAT):
            return literal(self._decode(token))
        raise ValueError(f"a value of unknown kind {tag!r}")

    def _array(self, index: int, dtype: str, shape: list[int], count: int = 1) -> str:
        frames = self._frames[index : index + count]
        if any(isinstance(frame, int) for frame in frames):
            return f"torch.zeros({[*shape]}, dtype=torch.{_name(dtype)})"
        copies = [bytearray(frame) for frame in frames if not isinstance(frame, int)]
        return self._keep(read_tensor(copies, 0, dtype, shape, count, self._limits))


def place(name: int, first: int) -> int:
    return name if name >= 0 else first - 1 - name


def variable(id: int) -> str:
    return WELL_KNOWN[id].__name__.rpartition(".")[2] if id in WELL_KNOWN else f"v{id}"


def variables(ids: list[int]) -> str:
    return ", ".join(map(variable, ids))


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)


def _name(text: str) -> str:
    if not _is_name(text):
        raise ValueError(f"{text[:80]!r} is no name")
    return text


def attribute(target: str, name: str) -> str:
    return f"{target}.{name}" if _is_name(name) else f"getattr({target}, {name!r})"


def keywords(values: dict[str, str]) -> list[str]:
    named = [f"{name}={value}" for name, value in values.items() if _is_name(name)]
    others = ", ".join(f"{name!r}: {value}" for name, value in values.items() if not _is_name(name))
    return [*named, f"**{{{others}}}"] if others else named


def arguments(values: dict[str, Any]) -> str:
    return ", ".join(keywords({name: literal(value) for name, value in values.items()}))


def literal(value: Any) -> str:
    return f"float({str(value)!r})" if isinstance(value, float) and not math.isfinite(value) else repr(value)


def comment(text: str) -> str:
    """(There are more characters that end a line than Python's own; none of them may end a comment.)"""
    lines = ("".join(one if one.isprintable() else ascii(one)[1:-1] for one in line) for line in text.split("\n"))
    return "\n".join(f"# {line}" for line in lines)
