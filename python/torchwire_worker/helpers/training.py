"""What training steps call."""

from __future__ import annotations

from typing import Any


class LossIsNaN(ArithmeticError):
    """Raised before the update, so that the weights stay those of the step before."""


def refuse_nan(loss: Any) -> None:
    """On CUDA this waits for the loss: one synchronisation a step."""
    if loss.isnan().any():
        raise LossIsNaN("the loss is NaN")
