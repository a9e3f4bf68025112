"""Takes back what loading a state changes in a module."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from .state import bits_of, cpu_copy


class Before:
    """Modules as they were: `restore` makes them so again, to the bit, with the same tensors in them.

    For each submodule it keeps parameters and buffers (also those that no state dict has), extra state, its class, and
    its attributes with the contents of plain containers among them. The copies are in the CPU's memory, and take as
    much as the weights.
    """

    def __init__(self, modules: Iterable[Any]) -> None:
        self._parts = [_Part(part) for module in modules for part in _parts(module)]
        tensors = {id(tensor): tensor for part in self._parts for tensor in part.tensors()}
        self._tensors = [_Kept(tensor) for tensor in tensors.values()]

    def restore(self) -> None:
        # Go in reverse: an attribute of an outer module may be one of an inner module.
        for part in reversed(self._parts):
            part.restore_attributes()
        for kept in self._tensors:
            # A tensor that was made in inference mode can only be changed there.
            with torch.inference_mode(kept.is_inference), torch.no_grad():
                kept.restore()
        for part in self._parts:
            part.restore_extra()


def _parts(module: Any) -> Iterator[Any]:
    return module.modules() if isinstance(module, torch.nn.Module) else iter([module])


# Only these: others may not be copied by one call, or mean more than they contain.
_PLAIN = (dict, list, set, OrderedDict)


class _Part:
    def __init__(self, module: Any) -> None:
        self._module = module
        self._class = type(module)
        self._attributes: dict[str, Any] = getattr(module, "__dict__", {})
        plain = [value for value in self._attributes.values() if type(value) in _PLAIN]
        self._containers = [(one, copy.copy(one)) for one in (self._attributes, *plain)]
        self._extra: list[Any] = []
        if isinstance(module, torch.nn.Module) and self._class.get_extra_state is not torch.nn.Module.get_extra_state:
            self._extra.append(copy.deepcopy(module.get_extra_state()))

    def tensors(self) -> Iterator[torch.Tensor]:
        held = (kept.values() for _, kept in self._containers if isinstance(kept, dict))
        return (value for values in held for value in values if isinstance(value, torch.Tensor))

    def restore_attributes(self) -> None:
        for container, kept in self._containers:
            if _is_unchanged(container, kept):
                continue
            container.clear()
            container.extend(kept) if isinstance(container, list) else container.update(kept)
        if type(self._module) is not self._class:
            self._module.__class__ = self._class

    def restore_extra(self) -> None:
        for extra in self._extra:
            if not _is_same(self._module.get_extra_state(), extra):
                self._module.set_extra_state(extra)


def _is_unchanged(container: Any, kept: Any) -> bool:
    flat = [list(one.items()) if isinstance(one, dict) else [(each,) for each in one] for one in (container, kept)]
    return len(flat[0]) == len(flat[1]) and all(a is b for one, other in zip(*flat) for a, b in zip(one, other))


class _Kept:
    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._class = type(tensor)
        self.is_inference = not is_lazy(tensor) and tensor.is_inference()
        self._data = None if is_lazy(tensor) else tensor.detach()
        self._values = None if self._data is None or tensor.is_meta else cpu_copy(self._data)

    def restore(self) -> None:
        if self._data is None:
            if type(self._tensor) is not self._class:
                # It had no shape.
                self._tensor.data = torch.empty(0, dtype=self._tensor.dtype, device=self._tensor.device)
                self._tensor.__class__ = self._class
            return
        if self._values is not None and not _is_same(cpu_copy(self._data), self._values):
            self._data.copy_(self._values)
        if not _is_one_memory(self._tensor, self._data):
            self._tensor.data = self._data


def _is_one_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.layout is not torch.strided or one.is_meta:
        return one.shape == other.shape
    there = [(t.data_ptr(), t.dtype, t.device, t.shape, t.stride()) for t in (one, other)]
    return there[0] == there[1]


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape or one.layout is not torch.strided or one.is_quantized:
            return False
        return torch.equal(bits_of(cpu_copy(one)), bits_of(cpu_copy(other)))
    try:
        return bool(one == other)
    except Exception:
        return False
