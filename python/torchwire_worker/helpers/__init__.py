"""Functions that operations call by name. The worker itself knows none of them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def identity(value: T) -> T:
    return value


def tensor_of(data: Any, dtype: str | None, shape: list[int] | None) -> Any:
    """Return a tensor of nested numbers. They are float32 by default, whole or not, as JavaScript does not tell them
    apart.
    """
    import torch

    if dtype is None and not isinstance(_first(data), bool):
        dtype = "float32"
    tensor = torch.tensor(data, dtype=None if dtype is None else getattr(torch, dtype))
    return tensor if shape is None else tensor.reshape(shape)


def _first(data: Any) -> Any:
    while isinstance(data, list) and data:
        data = data[0]
    return data


def take(iterator: Iterator[T], n: int) -> list[T]:
    return list(islice(iterator, n))


def unpack(items: Iterable[T], n: int) -> list[T]:
    """Return all items. There must be `n` of them."""
    found = list(islice(items, n + 1))
    if len(found) > n:
        raise ValueError(f"too many values to unpack (expected {n})")
    if len(found) < n:
        raise ValueError(f"not enough values to unpack (expected {n}, got {len(found)})")
    return found


def source(value: Any) -> str:
    return textwrap.dedent(inspect.getsource(value))
