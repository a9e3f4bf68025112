"""Runs that leave no trace: what training changes, kept, and put back as it was, bit for bit. Random numbers are the business of a context."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch


class Trial:
    """Made before the run; `restore` after it. It costs as much memory as parameters, buffers, gradients and optimizer state take."""

    def __init__(self, modules: Iterable[torch.nn.Module], optimizers: Any, data: Any = None) -> None:
        # Each once, also where models share parts.
        parts = list({id(part): part for module in modules for part in module.modules()}.values())
        params = list({id(param): param for part in parts for param in part.parameters(recurse=False)}.values())
        self._modes = [(part, part.training) for part in parts]
        self._extra = [(part, copy.deepcopy(part.get_extra_state())) for part in parts if _has_extra_state(part)]
        self._tensors = [(param, param.detach().clone()) for param in params]
        self._grads = [(param, param.grad, None if param.grad is None else param.grad.clone()) for param in params]
        # The dict too: a module may put another tensor in the place of its buffer.
        self._buffers = [
            (part._buffers, name, buffer, None if buffer is None else buffer.detach().clone())
            for part in parts
            for name, buffer in part._buffers.items()
        ]
        each = optimizers.values() if isinstance(optimizers, Mapping) else [optimizers]
        self._optimizers = [(optimizer, *_set_aside(optimizer)) for optimizer in each]
        self._generators = [(generator, generator.get_state()) for generator in _generators(data)]

    def restore(self) -> None:
        with torch.no_grad():
            for tensor, before in self._tensors:
                tensor.copy_(before)
            for param, grad, before in self._grads:
                if grad is not None and before is not None:
                    grad.copy_(before)
                param.grad = grad
            for buffers, name, buffer, before in self._buffers:
                if buffer is not None and before is not None:
                    buffer.copy_(before)
                buffers[name] = buffer
        for part, extra in self._extra:
            part.set_extra_state(extra)
        for part, mode in self._modes:
            part.training = mode
        for optimizer, state, groups in self._optimizers:
            optimizer.state.clear()
            optimizer.state.update(state)
            for group, options in zip(optimizer.param_groups, groups):
                for name in [name for name in group if name != "params" and name not in options]:
                    del group[name]
                group.update(options)
        for generator, before in self._generators:
            generator.set_state(before)


def _set_aside(optimizer: Any) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    """Its own state and options; it goes on with copies of them."""
    state = dict(optimizer.state)
    for param, values in state.items():
        optimizer.state[param] = copy.deepcopy(values)
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    for group, options in zip(optimizer.param_groups, groups):
        group.update(copy.deepcopy(options))
    return state, groups


def _has_extra_state(part: torch.nn.Module) -> bool:
    return type(part).get_extra_state is not torch.nn.Module.get_extra_state


def _generators(data: Any) -> list[torch.Generator]:
    """Those from which a torch.utils.data.DataLoader draws its order."""
    owners = [data, getattr(data, "sampler", None), getattr(getattr(data, "batch_sampler", None), "sampler", None)]
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())
