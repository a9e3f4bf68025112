"""The state of an object that is neither a model nor an optimizer."""

from __future__ import annotations

import copy
import random
from typing import Any

import torch

from .keeping import write


def state_of(one: Any, name: str) -> Any:
    """Return the state of an object with a state dict, of a metric, of a generator of random numbers, or of a tensor.

    Raises TypeError for any other.
    """
    if isinstance(one, torch.Tensor):
        return one
    if isinstance(one, torch.Generator):
        return one.get_state()
    if isinstance(one, random.Random):
        return one.getstate()
    if hasattr(one, "bit_generator"):
        return one.bit_generator.state
    if metrics := _metrics(one):
        return [[metric._update_count, metric.metric_state] for metric in metrics]
    if hasattr(one, "state_dict") and hasattr(one, "load_state_dict"):
        return one.state_dict()
    raise TypeError(
        f"{name}: a {type(one).__name__} has no state to keep: it is no tensor and no generator, and has no state_dict "
        "and load_state_dict"
    )


def put_back(one: Any, state: Any, name: str) -> None:
    if isinstance(one, torch.Tensor):
        with torch.no_grad():
            write(one.detach(), state)
    elif isinstance(one, torch.Generator):
        one.set_state(state)
    elif isinstance(one, random.Random):
        one.setstate(state)
    elif hasattr(one, "bit_generator"):
        one.bit_generator.state = state
    elif metrics := _metrics(one):
        for metric, (count, values) in zip(metrics, state, strict=True):
            metric.reset()
            metric._update_count = count
            for key, value in values.items():
                setattr(metric, key, _moved(value, metric.device))
    else:
        one.load_state_dict(copy.copy(state))


def _metrics(one: Any) -> list[Any]:
    """Return the metrics of the package torchmetrics in `one`: their state dicts leave out what they have counted."""
    parts = one.modules() if isinstance(one, torch.nn.Module) else []
    return [part for part in parts if hasattr(part, "metric_state") and hasattr(part, "_update_count")]


def _moved(value: Any, device: Any) -> Any:
    return [item.to(device) for item in value] if isinstance(value, list) else value.to(device)
