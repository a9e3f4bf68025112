"""The state of an object that is neither a model nor an optimizer."""

from __future__ import annotations

import copy
import random
from typing import Any

import torch

from .keeping import once, write


def has_state(one: Any) -> bool:
    """Return whether `state_of` knows the object."""
    kinds = (torch.Tensor, torch.Generator, random.Random)
    return isinstance(one, kinds) or hasattr(one, "bit_generator") or bool(_metrics(one)) or _has_dict(one)


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
        return [{key: value for key, value in vars(metric).items() if _counts(metric, key)} for metric in metrics]
    if _has_dict(one):
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
        for metric, values in zip(metrics, state, strict=True):
            metric.reset()
            for key, value in values.items():
                setattr(metric, key, _moved(value, metric.device))
    else:
        one.load_state_dict(copy.copy(state))


class Passes:
    """What data in the worker remembers from pass to pass: the state that it, its samplers or its data set say, and the
    generators that they draw from.
    """

    def __init__(self, data: Any) -> None:
        batches = getattr(data, "batch_sampler", None)
        parts = [getattr(data, "dataset", None), getattr(data, "sampler", None), getattr(batches, "sampler", None)]
        there = (one for part in (*parts, batches, data) for one in (getattr(part, "generator", None), part))
        self._parts = once(one for one in there if has_state(one) and not isinstance(one, torch.Tensor))

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [state_of(one, type(one).__name__) for one in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for one, its in zip(self._parts, state["parts"], strict=True):
            put_back(one, its, type(one).__name__)


def _has_dict(one: Any) -> bool:
    return hasattr(one, "state_dict") and hasattr(one, "load_state_dict")


def _metrics(one: Any) -> list[Any]:
    """Return the metrics of the package torchmetrics in `one`: their state dicts leave out what they have counted."""
    parts = one.modules() if isinstance(one, torch.nn.Module) else []
    return [part for part in parts if hasattr(part, "metric_state") and hasattr(part, "_update_count")]


def _counts(metric: Any, key: str) -> bool:
    """Return whether the attribute is what the metric has counted: its declared state, or a number, or a tensor. Those
    that go around other metrics, such as MinMaxMetric, do not declare theirs.
    """
    value = vars(metric)[key]
    return key in metric.metric_state or isinstance(value, (torch.Tensor, bool, int, float))


def _moved(value: Any, device: Any) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value
