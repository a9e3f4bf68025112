"""Functions that training steps call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer


class LossIsNaN(ArithmeticError):
    """The loss is NaN. Raised before the update, so that the weights stay as they were."""


def refuse_nan(loss: Tensor, models: list[Module], weight: Any = None, *of: Any) -> None:
    """Raise if the loss is NaN. On CUDA this waits for the loss: one synchronisation in each step.

    `weight` is the weight of the loss in a mean, or a weigher of the outputs and targets `of`. With weight 0 there is
    no loss, and PyTorch returns NaN. Then the gradients must not have NaN either: weights of classes that are 0 make
    some.
    """
    if _is_nan(loss) and not (_weighs_nothing(weight, of) and _have_no_nan(models)):
        raise LossIsNaN("the loss is NaN")


def _is_nan(loss: Tensor) -> bool:
    if loss.numel() != 1:
        return bool(loss.isnan().any())
    # (One operation, where the other way has three: each step pays for it.)
    value = loss.item()
    return value != value


def _weighs_nothing(weight: Any, of: tuple[Any, ...]) -> bool:
    found = weight.weight(*of) if of else weight
    return found is not None and bool(found == 0)


def _have_no_nan(models: list[Module]) -> bool:
    return not any(
        parameter.grad is not None and bool(parameter.grad.isnan().any())
        for model in models
        for parameter in model.parameters()
    )


def closure(
    optimizer: Optimizer,
    model: Module,
    loss_fn: Callable[[Any, Any], Tensor],
    args: list[Any],
    named: dict[str, Any],
    ys: Any,
    loss: Tensor,
) -> Callable[[], Tensor]:
    """Return the closure for `optimizer.step`: at first it returns the loss that is there, with its gradients; after
    that it computes anew.
    """
    return _closure(optimizer, lambda: loss_fn(model(*args, **named), ys), loss)


def closure_of(
    optimizer: Optimizer, compute: Callable[..., Tensor], of: list[Any], loss: Tensor
) -> Callable[[], Tensor]:
    """Return the same for a loss that `compute` gives, a function of the program."""
    return _closure(optimizer, lambda: compute(*of), loss)


def _closure(optimizer: Optimizer, compute: Callable[[], Tensor], loss: Tensor) -> Callable[[], Tensor]:
    there = [loss]

    def evaluate() -> Tensor:
        if there:
            return there.pop()
        optimizer.zero_grad()
        again = compute()
        again.backward()
        return again

    return evaluate
