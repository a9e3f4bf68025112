"""Losses that models compute in their forward, from targets that they take as an argument.

Hugging Face's models take `labels`, and their output has a `loss`. Detectors of torchvision take `targets`; in training
they give a dict of losses, whose sum is the loss, and in eval mode detections without a loss.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..devices import late_number
from .batches import number
from .task import described

# The parameters of a forward that take targets, if the program names none.
_KNOWN = ("labels", "targets")
# Hugging Face's models ignore labels of this value.
_IGNORED = -100


def compute(
    model: torch.nn.Module, args: list[Any], named: dict[str, Any], targets: Any, parameter: str | bool | None
) -> Computed:
    """Call the model with its inputs and the targets.

    `parameter` takes the targets: its name, or None to find it, or False for a model that takes none. If it is None,
    each target in a dict is an argument by its own name.
    """
    if parameter is False:
        given: Mapping[str, Any] = {}
    elif parameter is None and isinstance(targets, Mapping):
        given = targets
    else:
        given = {_parameter(model) if parameter is None else str(parameter): targets}
    for name in given:
        if name in named:
            raise ValueError(f"the inputs and the targets both have {name!r}: give it as a target alone")
    return Computed(model(*args, **named, **given), model, given)


class Computed:
    """The outputs of a model, and the loss that it computed with them. It weighs the loss, as a `Weigher` does."""

    def __init__(self, outputs: Any, model: torch.nn.Module, given: Mapping[str, Any]) -> None:
        self.outputs = outputs
        self._is_training = model.training
        self._is_shifted = _is_shifted(model)
        self._labels = given.get("labels")
        self._found: tuple[Tensor | None, dict[str, Tensor]] | None = None
        self._said: Any = None

    @property
    def loss(self) -> Tensor | None:
        """The loss: one number. None if there is none in eval mode."""
        if self._found is None:
            self._found = _loss_in(self.outputs)
        loss = self._found[0]
        if loss is None and self._is_training:
            raise ValueError(
                f"the model gives {described(self.outputs)} and no loss: it must give one number, something with a "
                "`loss`, or a dict of losses alone; or say where the loss is, as in ownLoss({ loss: (y) => y.total })"
            )
        return loss

    def take(self, loss: Any) -> None:
        """Take `loss`, which the program found, for the loss of the model. It is the sum of a dict, or a list."""
        if isinstance(loss, (list, tuple)):
            loss = dict(enumerate(loss))
        if isinstance(loss, Mapping):
            self._found = _sum(loss.values()), {str(name): part for name, part in loss.items()}
        else:
            self._found = loss, {}

    def weigh(self, weight: Any) -> None:
        """State the weight of this loss in the mean over an epoch."""
        self._said = weight

    def weight(self, _yhat: Any = None, _ys: Any = None) -> float | None:
        """Return what the loss was divided by, or None if that is not known."""
        if self._said is not None:
            weight = float(self._said)
            if not 0 <= weight < math.inf:
                raise ValueError(f"the weight of the loss is {weight}; it must be a number from 0")
            return weight
        counted = self._labels_that_count()
        return None if counted is None else float(counted)

    def _labels_that_count(self) -> Tensor | None:
        labels = self._labels
        if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
            return None
        if self._is_shifted and labels.ndim > 1:
            labels = labels[..., 1:]
        return labels.ne(_IGNORED).sum()

    def counted(self, loss: Tensor | None, _yhat: Any, _ys: Any, _is_changed: bool) -> list[Any]:
        """Return the loss of a step, its weight in the mean over an epoch, the product, and the parts of the loss by
        name. What is not known is None. On a GPU these are tensors, for which nothing waits, and no product.
        """
        if loss is None:
            return [None, None, None, {}]
        parts = {} if self._found is None else self._found[1]
        late = late_number(loss)
        if late is not None:
            weight = self._labels_that_count() if self._said is None else self.weight()
            return [late, weight, None, {name: number(part) for name, part in parts.items()}]
        weight = self.weight()
        value, *others = _numbers([loss, *parts.values()])
        return [value, weight, None if weight is None else value * weight, dict(zip(parts, others))]


def _numbers(tensors: list[Tensor]) -> list[float]:
    """Return the values of tensors of one element. On a GPU this waits once, if they are alike."""
    if len({(tensor.dtype, tensor.device) for tensor in tensors}) > 1 or any(one.numel() != 1 for one in tensors):
        return [tensor.item() for tensor in tensors]
    return torch.stack([tensor.detach().reshape(()) for tensor in tensors]).tolist()


# --- the loss in an output ---


def _loss_in(outputs: Any) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Return the loss, and its parts."""
    if isinstance(outputs, Tensor):
        return (outputs if _is_number(outputs) else None), {}
    named = _named(outputs)
    loss = named.get("loss")
    if isinstance(loss, Tensor):
        return loss, dict(_parts(named))
    if named and all(map(_is_number, named.values())):
        return _sum(named.values()), {str(name): part for name, part in named.items()}
    if isinstance(outputs, (tuple, list)) and outputs and _is_number(outputs[0]):
        return outputs[0], {name: part for one in outputs[1:] for name, part in _parts(_named(one))}
    return None, {}


def _named(value: Any) -> Mapping[Any, Any]:
    """Return what an output has by name."""
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in fields(value)}
    if isinstance(value, tuple):
        as_dict = getattr(value, "_asdict", None)
        return {} if as_dict is None else as_dict()
    loss = None if isinstance(value, (list, Tensor)) else getattr(value, "loss", None)
    return {} if loss is None else {"loss": loss}


def _parts(named: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Give the single numbers beside the loss, also those in a dict of losses."""
    for name, value in named.items():
        if name == "loss":
            continue
        if _is_number(value):
            yield str(name), value
        elif isinstance(value, Mapping) and all(map(_is_number, value.values())):
            for inner, part in value.items():
                yield f"{name}/{inner}", part


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()


def _sum(losses: Any) -> Any:
    """Return the sum as torchvision's own training script computes it."""
    return sum(losses)


# --- the model ---


def _parameter(model: torch.nn.Module) -> str:
    """Return the name of the parameter that takes the targets."""
    takes_any = False
    for part in _wrapped(model):
        names, takes_more = _parameters(_forward(part))
        for name in _KNOWN:
            if name in names:
                return name
        takes_any = takes_any or takes_more
    if takes_any:
        return _KNOWN[0]
    raise ValueError(
        f"forward of {type(model).__name__} has no parameter `labels` or `targets`: say which one takes the targets, "
        'as in ownLoss({ targets: "y" }), or that none does, ownLoss({ targets: false })'
    )


def _wrapped(model: Any) -> Iterator[Any]:
    """Give the model, and those that it wraps, from the outside."""
    seen: list[Any] = []
    while isinstance(model, torch.nn.Module) and not any(model is one for one in seen):
        seen.append(model)
        yield model
        inside = vars(model).get("_modules", {})
        inner = inside.get("_orig_mod") or inside.get("module")
        if inner is None and hasattr(model, "peft_config"):
            # A model of peft has a tuner, and that has the model; or it has the model itself.
            inner = inside.get("base_model") or inside.get("model")
        model = inner


def _forward(model: torch.nn.Module) -> Callable[..., Any]:
    """Return the forward that a model had before it was made to compute under autocast."""
    own = vars(model)
    plain = own["_torchwire_amp"][2] if "_torchwire_amp" in own else own.get("forward")
    return type(model).forward if plain is None else plain


@lru_cache(maxsize=64)
def _parameters(forward: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Return the names of the parameters, and whether others by name are taken."""
    try:
        parameters = inspect.signature(forward).parameters
    except (TypeError, ValueError):
        return frozenset(), False
    return frozenset(parameters), any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _is_shifted(model: torch.nn.Module) -> bool:
    """Return whether the model takes labels that are its inputs, and predicts each from those before it: then the first
    one of each row does not count.
    """
    return any(
        getattr(part, "loss_type", None) == "ForCausalLM"
        or type(part).__name__.endswith(("ForCausalLM", "LMHeadModel"))
        for part in _wrapped(model)
    )
