"""What is looked at before a training begins."""

from __future__ import annotations

from typing import Any

import torch


def loss_problem(loss: Any) -> str | None:
    """Why a loss is not one number, or None."""
    if not isinstance(loss, torch.Tensor):
        return f"it is a {type(loss).__name__}, not a tensor"
    if loss.numel() != 1:
        return f"it is a tensor of shape {list(loss.shape)}, not one number: reduce it, e.g. with .mean()"
    if not (loss.is_floating_point() or loss.is_complex()):
        return f"it is of {loss.dtype}, and has no gradient"
    return None
