"""Keeps the values of modules' tensors, and puts them back.

This goes by tensor, and not by the names of a state dict: a tied tensor has several names, a buffer that is not
persistent has none, and extra state is no tensor.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from .state import bits_of, cpu_copy


class Values:
    """A copy of the values of parameters and buffers, on their devices. A lazy module that has not run yet has none,
    and becomes such a module again.
    """

    def __init__(self, parts: Sequence[torch.nn.Module], more: Iterable[torch.Tensor] = ()) -> None:
        """`more` are parameters that belong to no module."""
        # Validation may run in inference mode, but a tensor made there cannot be used everywhere.
        with torch.inference_mode(False), torch.no_grad():
            own = [param for part in parts for param in part.parameters(recurse=False)]
            self._params = [(param, type(param), _copy(param)) for param in once([*own, *more])]
            # Keep the dict too: a module may replace its buffer by another tensor.
            self._buffers = [
                (part._buffers, name, buffer, type(buffer), _copy(buffer))
                for part in parts
                for name, buffer in part._buffers.items()
            ]
        # The first run of a lazy module changes its class and its attributes.
        self._lazy = [Attributes(part) for part in parts if isinstance(part, LazyModuleMixin)]

    def copies(self) -> list[torch.Tensor | None]:
        """Return the copies. None stands for a tensor that is lazy, and for a buffer that is not there."""
        return [value for *_, value in (*self._params, *self._buffers)]

    def replace(self, copies: Sequence[torch.Tensor | None]) -> None:
        """Take others, in the order of `copies`."""
        moved = [
            other if mine is None or other is None else other.to(mine.device)
            for mine, other in zip(self.copies(), copies, strict=True)
        ]
        params, buffers = moved[: len(self._params)], moved[len(self._params) :]
        self._params = [(param, kind, value) for (param, kind, _), value in zip(self._params, params)]
        self._buffers = [(*buffer[:-1], value) for buffer, value in zip(self._buffers, buffers)]

    def restore(self) -> None:
        for attributes in self._lazy:
            attributes.restore()
        with torch.inference_mode(False), torch.no_grad():
            for param, kind, value in self._params:
                _put_back(param, kind, value)
            for buffers, name, buffer, kind, value in self._buffers:
                # A tensor made in inference mode cannot be written outside of it.
                if buffer is not None and value is not None and buffer.is_inference():
                    buffers[name] = value.clone()
                    continue
                buffers[name] = buffer
                if buffer is not None:
                    _put_back(buffer, kind, value)


class Extra:
    """A copy of the extra state of modules: the values of `get_extra_state`."""

    def __init__(self, parts: Sequence[torch.nn.Module]) -> None:
        self._kept = [(part, copy.deepcopy(part.get_extra_state())) for part in parts if _has_extra_state(part)]

    def copies(self) -> list[Any]:
        return [extra for _, extra in self._kept]

    def replace(self, copies: Sequence[Any]) -> None:
        self._kept = [(part, extra) for (part, _), extra in zip(self._kept, copies, strict=True)]

    def restore(self) -> None:
        for part, extra in self._kept:
            if not is_same(part.get_extra_state(), extra):
                # The module may keep this very object, and change it.
                part.set_extra_state(copy.deepcopy(extra))


# Only these: others may not be copied by one call, or mean more than they contain.
_PLAIN = (dict, list, set, OrderedDict)


class Attributes:
    """The class of an object and its attributes, with the contents of plain containers among them."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._class = type(owner)
        own = getattr(owner, "__dict__", {})
        plain = [value for value in own.values() if type(value) in _PLAIN]
        self._containers = [(one, copy.copy(one)) for one in (own, *plain)]

    def tensors(self) -> Iterator[torch.Tensor]:
        held = (kept.values() for _, kept in self._containers if isinstance(kept, dict))
        return (value for values in held for value in values if isinstance(value, torch.Tensor))

    def restore(self) -> None:
        for container, kept in self._containers:
            if _is_unchanged(container, kept):
                continue
            # Keep the container itself: handles of hooks refer to it.
            container.clear()
            container.extend(kept) if isinstance(container, list) else container.update(kept)
        if type(self._owner) is not self._class:
            self._owner.__class__ = self._class


def _is_unchanged(container: Any, kept: Any) -> bool:
    flat = [list(one.items()) if isinstance(one, dict) else [(each,) for each in one] for one in (container, kept)]
    return len(flat[0]) == len(flat[1]) and all(a is b for one, other in zip(*flat) for a, b in zip(one, other))


def parts_of(modules: Iterable[torch.nn.Module]) -> list[torch.nn.Module]:
    """Return the modules and all modules below them, each once, even if they share parts."""
    return once(part for module in modules if isinstance(module, torch.nn.Module) for part in module.modules())


def once(items: Iterable[Any]) -> list[Any]:
    """Return each item once, by identity: == of tensors compares their elements."""
    return list({id(item): item for item in items}.values())


def write(target: torch.Tensor, value: torch.Tensor) -> None:
    """Write in place. A tensor that was expanded along an axis has one element for that whole axis, and is written once
    there.
    """
    if target.layout is torch.strided and 0 in target.stride():
        for axis, (stride, length) in enumerate(zip(target.stride(), target.shape)):
            if stride == 0 and length > 1:
                target, value = target.narrow(axis, 0, 1), value.narrow(axis, 0, 1)
    target.copy_(value)


def _copy(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None or is_lazy(tensor) else tensor.detach().clone()


def _put_back(tensor: torch.Tensor, kind: type, value: torch.Tensor | None) -> None:
    if value is not None:
        write(tensor.detach(), value)
    else:
        make_lazy(tensor, kind)


def make_lazy(tensor: torch.Tensor, kind: type) -> None:
    """Make a tensor lazy again, of the class that it had then."""
    if not is_lazy(tensor):
        tensor.grad = None
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        tensor.__class__ = kind


def is_same(one: Any, other: Any) -> bool:
    """Return whether both are the same, tensors to the bit; False if they cannot be compared."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or one.shape != other.shape or one.layout is not torch.strided or one.is_quantized:
            return False
        return torch.equal(bits_of(cpu_copy(one)), bits_of(cpu_copy(other)))
    try:
        return bool(one == other)
    except Exception:
        return False


def _has_extra_state(part: torch.nn.Module) -> bool:
    return type(part).get_extra_state is not torch.nn.Module.get_extra_state
