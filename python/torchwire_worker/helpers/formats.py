"""Normalises images and videos by channel."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def normalize(x: Tensor, mean: list[float], std: list[float], after: int) -> Tensor:
    """Return (x - mean) / std, with the bits of torchvision's Normalize.

    `after` counts the axes behind the axis of channels: 2 for images [N, C, H, W].
    """
    return x.sub(_constant(tuple(mean), after, x.dtype, x.device)).div(_constant(tuple(std), after, x.dtype, x.device))


def denormalize(y: Tensor, mean: list[float], std: list[float], after: int) -> Tensor:
    """Undo `normalize`: return y * std + mean."""
    return y.mul(_constant(tuple(std), after, y.dtype, y.device)).add(_constant(tuple(mean), after, y.dtype, y.device))


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], after: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make a constant [C, 1, …] once: copying it to a GPU takes longer than using it. It is never an inference tensor,
    which training cannot use.
    """
    import torch

    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).reshape(-1, *[1] * after)
