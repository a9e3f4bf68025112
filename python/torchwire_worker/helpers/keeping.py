"""Keeps the values of modules' tensors, and puts them back.

This goes by tensor, and not by the names of a state dict: a tied tensor has several names, a buffer that is not
persistent has none, and extra state is no tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy


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
        self._lazy = [_Unmade(part) for part in parts if isinstance(part, LazyModuleMixin)]

    def restore(self) -> None:
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
        for one in self._lazy:
            one.restore()


class Extra:
    """A copy of the extra state of modules: the values of `get_extra_state`."""

    def __init__(self, parts: Sequence[torch.nn.Module]) -> None:
        self._kept = [(part, copy.deepcopy(part.get_extra_state())) for part in parts if _has_extra_state(part)]

    def restore(self) -> None:
        for part, extra in self._kept:
            # The module may keep this very object, and change it.
            part.set_extra_state(copy.deepcopy(extra))


class _Unmade:
    """A lazy module before its first run, which gives it shapes and removes its hooks."""

    def __init__(self, part: torch.nn.Module) -> None:
        self._part = part
        self._class = type(part)
        self._own = {
            name: copy.copy(value) if isinstance(value, dict) else value for name, value in _attributes(part).items()
        }

    def restore(self) -> None:
        now = vars(self._part)
        for name in _attributes(self._part):
            if name not in self._own:
                del now[name]
        for name, value in self._own.items():
            # Handles of hooks refer to the dict itself.
            if isinstance(value, dict) and isinstance(now.get(name), dict):
                now[name].clear()
                now[name].update(value)
            else:
                now[name] = value
        self._part.__class__ = self._class


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
    elif not is_lazy(tensor):
        tensor.grad = None
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        tensor.__class__ = kind


def _attributes(part: torch.nn.Module) -> dict[str, Any]:
    """Return the attributes that are not kept by tensor, or module by module."""
    return {name: value for name, value in vars(part).items() if name not in ("_parameters", "_buffers", "_modules")}


def _has_extra_state(part: torch.nn.Module) -> bool:
    return type(part).get_extra_state is not torch.nn.Module.get_extra_state
