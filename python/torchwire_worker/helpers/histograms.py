"""Histograms of parameters and gradients, counted on their devices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from .precision import full, wide
from .state import Modules

Histogram = dict[str, Any]


def parameters_and_gradients(model: Modules, bins: int) -> tuple[dict[str, Histogram], dict[str, Histogram]]:
    """Return histograms of the trainable parameters, and of their gradients if there are some, by name.

    `model` is a module, or a mapping of names to modules.
    """
    weights: dict[str, Histogram] = {}
    gradients: dict[str, Histogram] = {}
    for prefix, module in model.items() if isinstance(model, Mapping) else [("", model)]:
        for name, parameter in module.named_parameters(prefix=prefix):
            if not parameter.requires_grad or torch.nn.parameter.is_lazy(parameter):
                continue
            weights[name] = histogram(parameter, bins)
            if parameter.grad is not None:
                gradients[name] = histogram(parameter.grad, bins)
    return weights, gradients


def histogram(tensor: torch.Tensor, bins: int) -> Histogram:
    """Count a tensor of any shape in `bins` bins of one width, from the least to the greatest finite number; in one bin
    if all numbers are the same.
    """
    values = _dense(tensor.detach()).flatten()
    given = values.numel()
    low, high = _ends(values)
    # Examine each number only if something is wrong.
    if not (math.isfinite(low) and math.isfinite(high)):
        values = values[values.isfinite()]
        low, high = _ends(values)
    total, norm = torch.stack([wide(values).sum(), torch.linalg.vector_norm(wide(values))]).tolist()
    if low == high:
        counts = [values.numel()]
    else:
        # torch.histc is not deterministic on CUDA, and counts in float32 on the CPU.
        places = values.sub(low).div_(high - low).mul_(bins).int().clamp_(0, bins - 1)
        counts = torch.bincount(places, minlength=bins).tolist()
    return {
        "low": low,
        "high": high,
        "counts": counts,
        "sum": total,
        "sum_squares": norm**2,
        "not_finite": given - values.numel(),
    }


def _ends(values: torch.Tensor) -> tuple[float, float]:
    if values.numel() == 0:
        return 0.0, 0.0
    low, high = torch.stack(torch.aminmax(values)).tolist()
    return low, high


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    """Return its numbers as floats that hold each of them."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return full(tensor) if tensor.is_floating_point() else wide(tensor)
