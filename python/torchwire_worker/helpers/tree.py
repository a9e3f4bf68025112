"""Plain values and tensors in each other, written as JSON beside a list of tensors, and read back from them alone."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .state import why_unfit

# Read back as what they were. Of a subclass nothing is known, so it is refused.
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "size": torch.Size,
}
_KINDS = {kind: name for name, kind in _SEQUENCES.items()}


class Unwritable(TypeError):
    """A value that JSON and tensors cannot hold. The message has its place."""


def to_json(value: Any, tensors: dict[str, torch.Tensor], at: str) -> str:
    """Return `value` as JSON. Its tensors go into `tensors`, by their places, which begin with `at`."""
    return json.dumps(_written(value, tensors, at))


def from_json(text: str, tensors: Mapping[str, torch.Tensor]) -> Any:
    return _read(json.loads(text), tensors)


def _written(value: Any, tensors: dict[str, torch.Tensor], at: str) -> Any:
    kind = type(value)
    # JSON has Python's floats to the bit, and Python's own reader knows NaN and Infinity.
    if value is None or kind in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        if (why := why_unfit(value)) is not None:
            raise Unwritable(f"{at}: {why}")
        tensors[at] = value
        return ["tensor", at]
    if kind in _KINDS:
        return [_KINDS[kind], *(_written(item, tensors, f"{at}.{i}") for i, item in enumerate(value))]
    if kind in (dict, OrderedDict, defaultdict):
        items = (
            [_written(key, tensors, f"{at}.{key}"), _written(item, tensors, f"{at}.{key}")]
            for key, item in value.items()
        )
        return ["dict", *items]
    if kind is bytes:
        return ["bytes", base64.b64encode(value).decode()]
    if kind is complex:
        return ["complex", value.real, value.imag]
    if kind.__module__ == "numpy" and hasattr(value, "dtype"):
        return _numpy(value, tensors, at)
    raise Unwritable(f"{at}: a {kind.__module__}.{kind.__qualname__} cannot be written as numbers, text and tensors")


def _numpy(value: Any, tensors: dict[str, torch.Tensor], at: str) -> Any:
    import numpy

    try:
        tensors[at] = torch.from_numpy(numpy.array(value))
    except TypeError as error:
        raise Unwritable(f"{at}: {error}") from None
    return ["scalar" if isinstance(value, numpy.generic) else "array", at]


def _read(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, list):
        return value
    kind, *parts = value
    if kind in _SEQUENCES:
        return _SEQUENCES[kind]([_read(part, tensors) for part in parts])
    if kind == "dict":
        return {_read(key, tensors): _read(item, tensors) for key, item in parts}
    if kind == "bytes":
        return base64.b64decode(parts[0])
    if kind == "complex":
        return complex(*parts)
    tensor = tensors[parts[0]]
    if kind == "array":
        return tensor.numpy()
    return tensor.numpy()[()] if kind == "scalar" else tensor
