"""Lists of tensors of different shapes, which come as one tensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Each tensor begins at a multiple of this many bytes: client/data/list.ts packs them.
_ALIGNMENT = 64


def split(flat: Tensor, shapes: list[list[int]], dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """Return the tensors of these shapes that lie one after the other in `flat`, which has one dimension, each as
    `dtype` (default: as they are).

    They share its memory. They are no views of it: else autograd would take a change of one for a change of all.
    """
    step = _ALIGNMENT // flat.element_size()
    found = []
    start = flat.storage_offset()
    for shape in shapes:
        found.append(flat.new_empty(0).set_(flat.untyped_storage(), start, shape, _strides(shape)))
        start += -(-math.prod(shape) // step) * step
    return tuple(found) if dtype is None else tuple(one.to(dtype) for one in found)


def rows(parts: Any, count: int) -> list[Any]:
    """Return what each of `count` samples has. `parts` is the structure of one sample, in dicts and lists, with a tuple
    at each place: the tensors of all samples there. A list of parts becomes a tuple of each sample.
    """
    return [_row(parts, i) for i in range(count)]


def _row(parts: Any, i: int) -> Any:
    if isinstance(parts, tuple):
        return parts[i]
    if isinstance(parts, dict):
        return {name: _row(part, i) for name, part in parts.items()}
    return tuple(_row(part, i) for part in parts)


def _strides(shape: list[int]) -> list[int]:
    """Return the strides of a contiguous tensor; PyTorch counts an axis without elements as one."""
    return [math.prod(max(n, 1) for n in shape[axis + 1 :]) for axis in range(len(shape))]
