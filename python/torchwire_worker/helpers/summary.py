"""Describes a model: its modules, their parameters, and the shapes of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

import torch

from .containers import tensors_in, with_tensors


def describe(model: torch.nn.Module, given: Any = None) -> dict[str, Any]:
    """Describe every module once, in the order of `named_modules`.

    `given` is None, a shape (a list of ints), or the input of the model: a tensor, or a list or a dict of inputs, by
    position or by keyword, nested alike, each of which is a shape, or tensors in any container. With an input, the
    model runs once, and the shapes of all tensors in each output are noted.
    """
    outputs: dict[torch.nn.Module, list[list[int]]] = {}
    calls: dict[torch.nn.Module, int] = {}
    if given is not None:
        _run(model, given, outputs, calls)
    own = {name: list(module.parameters(recurse=False)) for name, module in model.named_modules()}
    parameters = list(model.parameters())
    return {
        "layers": [
            {
                "name": name,
                "type": type(module).__name__,
                "outputs": outputs.get(module, []),
                "calls": calls.get(module, 0),
                "parameters": count(own[name]),
                "trainable": count([p for p in own[name] if p.requires_grad]),
            }
            for name, module in model.named_modules()
        ],
        "parameters": count(parameters),
        "trainable": count([p for p in parameters if p.requires_grad]),
        "bytes": sum(_size(t) and t.nbytes for t in chain(parameters, model.buffers())),
    }


def _run(
    model: torch.nn.Module,
    given: Any,
    outputs: dict[torch.nn.Module, list[list[int]]],
    calls: dict[torch.nn.Module, int],
) -> None:
    def note(module: torch.nn.Module, _arguments: Any, output: Any) -> None:
        outputs.setdefault(module, [list(tensor.shape) for tensor in tensors_in(output)])
        calls[module] = calls.get(module, 0) + 1

    if any(torch.nn.parameter.is_lazy(tensor) for tensor in chain(model.parameters(), model.buffers())):
        raise RuntimeError(
            "a lazy module gets its shapes from the first batch: run the model once before its summary is asked with "
            "an input"
        )

    def run(dtype: torch.dtype | None) -> bool:
        outputs.clear()
        calls.clear()
        args, kwargs = _arguments(model, given, dtype)
        model(*args, **kwargs)
        return True

    takes_indices = any(isinstance(module, _TAKE_INDICES) for module in model.modules())
    handles = []
    try:
        for module in model.modules():
            handles.append(module.register_forward_hook(note))
        try:
            run(None)
        except Exception:
            done = False
            with suppress(Exception):
                done = takes_indices and run(torch.int64)
            if not done:
                raise
    finally:
        for handle in handles:
            handle.remove()


# A shape stands for whole numbers where a model that has one of these cannot run with floats.
_TAKE_INDICES = (torch.nn.Embedding, torch.nn.EmbeddingBag)


def _arguments(model: torch.nn.Module, given: Any, zeros: torch.dtype | None) -> tuple[list[Any], dict[str, Any]]:
    """Return the inputs by position and by name. A shape becomes zeros of a dtype: None is that of the model."""
    device, own = _home(model)
    dtype = own if zeros is None else zeros

    def made(part: Any) -> Any:
        if _is_shape(part):
            return torch.zeros(part, dtype=dtype, device=device)
        if type(part) is list:
            return [made(one) for one in part]
        if type(part) is dict:
            return {name: made(one) for name, one in part.items()}
        return with_tensors(lambda tensor: tensor.to(device), part)

    if isinstance(given, Mapping):
        return [], {name: made(part) for name, part in given.items()}
    if isinstance(given, torch.Tensor) or _is_shape(given):
        return [made(given)], {}
    return [made(part) for part in given], {}


def _is_shape(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(size, int) for size in given)


def _home(model: torch.nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device of its values, and the dtype of the first that is a float."""
    device, dtype = torch.device("cpu"), torch.float32
    for tensor in reversed([*model.parameters(), *model.buffers()]):
        device = tensor.device
        if tensor.is_floating_point():
            dtype = tensor.dtype
    return device, dtype


def count(parameters: list[torch.nn.Parameter]) -> int:
    """Return the number of their elements."""
    return sum(map(_size, parameters))


def _size(tensor: torch.Tensor) -> int:
    """Return the number of elements, or 0 for a parameter without a shape before the first run."""
    return 0 if torch.nn.parameter.is_lazy(tensor) else tensor.numel()
