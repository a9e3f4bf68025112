"""Describes a run (model, optimizer, torch) in plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from .hyper import Optimizers
from .state import Modules
from .summary import count
from .summary import describe as summary


def describe(models: Modules, optimizers: Optimizers) -> dict[str, Any]:
    """Describe a module and its optimizer, or mappings of names to them."""
    return {
        "model": _each(models, _model),
        "optimizer": _each(optimizers, _optimizer),
        "torch": {
            "threads": torch.get_num_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "cuda": torch.version.cuda,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_initialized() else None,
        },
    }


def _each(value: Any, describe: Callable[[Any], Any]) -> Any:
    return {name: describe(one) for name, one in value.items()} if isinstance(value, Mapping) else describe(value)


def _model(model: torch.nn.Module) -> dict[str, Any]:
    found = summary(model)
    layers = [[layer["name"], layer["type"], layer["parameters"]] for layer in found["layers"]]
    return {
        "class": _name(model),
        **{key: found[key] for key in ("parameters", "trainable", "bytes")},
        "layers": layers,
    }


def _optimizer(optimizer: Any) -> dict[str, Any]:
    groups = getattr(optimizer, "param_groups", [])
    return {
        "class": _name(optimizer),
        "groups": [
            {
                **{key: _plain(value) for key, value in group.items() if key != "params"},
                "parameters": count(group["params"]),
            }
            for group in groups
        ],
    }


def _name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    return repr(value)
