"""Prepares the outputs of a model for the client."""

from __future__ import annotations

import dataclasses
from collections import UserList, deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .containers import tensors_in, with_tensors
from .precision import full
from .task import Reading, described


def outputs(yhat: Any) -> Any:
    """Return outputs as they are, except that half floats become float32, dataclasses become dicts by field, and every
    sequence becomes a list.
    """
    return _plain(with_tensors(full, yhat))


def classified(outputs: Any, inputs: Any, loss: Any, task: str | None) -> dict[str, Any]:
    """Return {"scores", "probabilities"}, both [samples, classes], and whether they come from one output; or
    {"problem"}, why there are none.

    One output z is a yes or a no. A logit stands for the scores [0, z] of two classes, whose softmax is the sigmoid of
    z; a probability stands for [1 - z, z].
    """
    if not isinstance(outputs, Tensor):
        return {
            "problem": f"the model gives {described(outputs)}, and no scores of classes [samples, classes]; pick them, "
            "as in select: (y) => y.logits, or leave out topK and classes to have the outputs as they are"
        }
    shape = list(outputs.shape)
    given = tensors_in(inputs)
    samples = len(given[0]) if given and given[0].ndim else None
    is_one = shape[1:] == [1] or (len(shape) == 1 and samples in (None, shape[0]))
    if len(shape) != 2 and not is_one:
        return _problem(f"the model gives outputs of shape {shape}, which are no scores of classes [samples, classes]")
    if outputs.is_complex():
        return _problem("the model gives complex numbers, which are no scores of classes")
    reading = Reading(loss, task)
    if reading.task == "numbers":
        return {
            **_problem(f"the model was trained with {reading.name}, which is no loss of classes"),
            "columns": 2 if is_one else shape[1],
        }
    if is_one and reading.task == "classes":
        return _problem(
            f"outputs of shape {shape} are one class, of probability 1 whatever the model says (bceWithLogits() is the "
            "loss of one output)"
        )
    scores = full(outputs) if outputs.is_floating_point() else outputs.double()
    if is_one:
        one = scores.reshape(-1)
        scores = torch.stack([1 - one if reading.are_probabilities else torch.zeros_like(one), one], 1)
    if reading.are_probabilities:
        probabilities = scores
    else:
        probabilities = scores.sigmoid() if reading.task == "labels" and not is_one else scores.softmax(1)
    return {"scores": scores, "probabilities": probabilities, "is_one": is_one}


def _problem(why: str) -> dict[str, Any]:
    return {"problem": f"{why}; leave out topK and classes to have the outputs as they are"}


def _plain(value: Any, path: str = "") -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Tensor, Mapping)):
        fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return {name: _plain(item, f"{path}.{name}") for name, item in fields.items()}
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{path}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple, deque, UserList)):
        return [_plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if _can_be_sent(value):
        return value
    raise TypeError(
        f"the model's output{path} is a {type(value).__name__}, which has no counterpart in JavaScript: pick what to "
        "return, as in predict(samples, { select: (y) => y.logits })"
    )


def _can_be_sent(value: Any) -> bool:
    kinds = (Tensor, bool, int, float, str, bytes, bytearray, set, frozenset, range)
    return value is None or isinstance(value, kinds) or type(value).__module__ == "numpy"
