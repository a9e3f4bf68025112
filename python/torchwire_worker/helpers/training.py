"""What training steps call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class LossIsNaN(ArithmeticError):
    """Raised before the update, so that the weights stay those of the step before."""


def refuse_nan(loss: Any, models: list[Any], weight: Any = None, *of: Any) -> None:
    """On CUDA this waits for the loss: one synchronisation a step.

    `weight` is what the loss counts in a mean, or what tells it `of` outputs and targets: with 0 there is no loss, and NaN is what PyTorch calls
    that. Then the gradients, which are there, must have no NaN either: weights of classes that are 0 make some.
    """
    if loss.isnan().any() and not (_weighs_nothing(weight, of) and _have_no_nan(models)):
        raise LossIsNaN("the loss is NaN")


def _weighs_nothing(weight: Any, of: tuple[Any, ...]) -> bool:
    found = weight.weight(*of) if of else weight
    return found is not None and bool(found == 0)


def _have_no_nan(models: list[Any]) -> bool:
    return not any(
        parameter.grad is not None and bool(parameter.grad.isnan().any())
        for model in models
        for parameter in model.parameters()
    )


def closure(
    optimizer: Any, model: Any, loss_fn: Any, args: list[Any], named: dict[str, Any], ys: Any, loss: Any
) -> Callable[[], Any]:
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
