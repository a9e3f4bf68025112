"""What training steps call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class LossIsNaN(ArithmeticError):
    """Raised before the update, so that the weights stay those of the step before."""


def refuse_nan(loss: Any) -> None:
    """On CUDA this waits for the loss: one synchronisation a step."""
    if loss.isnan().any():
        raise LossIsNaN("the loss is NaN")


def closure(optimizer: Any, model: Any, loss_fn: Any, args: list[Any], named: dict[str, Any], ys: Any, loss: Any) -> Callable[[], Any]:
    """What `optimizer.step` evaluates: at first the loss that is there, with its gradients; after that anew."""
    there = [loss]

    def evaluate() -> Any:
        if there:
            return there.pop()
        optimizer.zero_grad()
        again = loss_fn(model(*args, **named), ys)
        again.backward()
        return again

    return evaluate
