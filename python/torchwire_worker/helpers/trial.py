"""Runs that leave no trace: everything that training changes is kept, and put back bit for bit. A context keeps the
random numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .hyper import Optimizers
from .keeping import Extra, Values, once, parts_of


class Trial:
    """A training run on trial: make this before the run, and call `restore` after it.

    It takes as much memory as parameters, buffers, gradients and optimizer state.
    """

    def __init__(self, modules: Iterable[torch.nn.Module], optimizers: Optimizers, data: Any = None) -> None:
        parts = parts_of(modules)
        each = list(optimizers.values()) if isinstance(optimizers, Mapping) else [optimizers]
        # A loss may have parameters of its own.
        others = [param for optimizer in each for group in optimizer.param_groups for param in group["params"]]
        params = once([*(param for part in parts for param in part.parameters(recurse=False)), *others])
        self._modes = [(part, part.training) for part in parts]
        self._values = Values(parts, others)
        self._extra = Extra(parts)
        self._grads = [(param, param.grad, None if param.grad is None else param.grad.clone()) for param in params]
        self._optimizers = [(optimizer, *_set_aside(optimizer)) for optimizer in each]
        self._generators = Generators(data)

    def restore(self) -> None:
        self._values.restore()
        with torch.no_grad():
            for param, grad, before in self._grads:
                if grad is not None and before is not None:
                    grad.copy_(before)
                param.grad = grad
        self._extra.restore()
        for part, mode in self._modes:
            part.training = mode
        for optimizer, state, groups in self._optimizers:
            optimizer.state.clear()
            optimizer.state.update(state)
            for group, options in zip(optimizer.param_groups, groups):
                for name in [name for name in group if name != "params" and name not in options]:
                    del group[name]
                group.update(options)
        self._generators.restore()


class Generators:
    """The states of the generators from which a torch.utils.data.DataLoader draws its order."""

    def __init__(self, data: Any) -> None:
        owners = [data, getattr(data, "sampler", None), getattr(getattr(data, "batch_sampler", None), "sampler", None)]
        found = [getattr(owner, "generator", None) for owner in owners]
        self._kept = [(one, one.get_state()) for one in once(found) if isinstance(one, torch.Generator)]

    def restore(self) -> None:
        for generator, before in self._kept:
            generator.set_state(before)


def _set_aside(optimizer: torch.optim.Optimizer) -> tuple[dict[Any, Any], list[dict[str, Any]]]:
    """Return an optimizer's own state and options. The optimizer continues with copies of them."""
    state = dict(optimizer.state)
    for param, values in state.items():
        optimizer.state[param] = copy.deepcopy(values)
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    for group, options in zip(optimizer.param_groups, groups):
        group.update(copy.deepcopy(options))
    return state, groups
