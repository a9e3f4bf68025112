"""Takes back what loading a state changes in a module."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from .keeping import Attributes, Extra, is_same, make_lazy, once, parts_of
from .state import cpu_copy


class Before:
    """Modules as they were: `restore` makes them so again, to the bit, with the same tensors in them.

    For each submodule it keeps parameters and buffers (also those that no state dict has), extra state, its class, and
    its attributes with the contents of plain containers among them. The copies are in the CPU's memory, and take as
    much as the weights.
    """

    def __init__(self, modules: Iterable[Any]) -> None:
        modules = list(modules)
        # Other objects that have a state dict are parts of their own.
        others = [module for module in modules if not isinstance(module, torch.nn.Module)]
        parts = parts_of(modules)
        self._attributes = [Attributes(part) for part in (*parts, *others)]
        self._tensors = [_Kept(tensor) for tensor in once(t for part in self._attributes for t in part.tensors())]
        self._extra = Extra(parts)

    def restore(self) -> None:
        # Go in reverse: an attribute of an outer module may be one of an inner module.
        for part in reversed(self._attributes):
            part.restore()
        for kept in self._tensors:
            # A tensor that was made in inference mode can only be changed there.
            with torch.inference_mode(kept.is_inference), torch.no_grad():
                kept.restore()
        self._extra.restore()


class _Kept:
    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._class = type(tensor)
        self.is_inference = not is_lazy(tensor) and tensor.is_inference()
        self._data = None if is_lazy(tensor) else tensor.detach()
        self._values = None if self._data is None or tensor.is_meta else cpu_copy(self._data)

    def restore(self) -> None:
        if self._data is None:
            make_lazy(self._tensor, self._class)
            return
        if self._values is not None and not is_same(cpu_copy(self._data), self._values):
            self._data.copy_(self._values)
        if not _is_one_memory(self._tensor, self._data):
            self._tensor.data = self._data


def _is_one_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.layout is not torch.strided or one.is_meta:
        return one.shape == other.shape
    there = [(t.data_ptr(), t.dtype, t.device, t.shape, t.stride()) for t in (one, other)]
    return there[0] == there[1]
