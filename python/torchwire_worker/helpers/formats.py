"""Normalises images and videos by channel."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def normalize(x: Any, mean: list[float], std: list[float], after: int) -> Any:
    """Return (x - mean) / std, with the bits of torchvision's Normalize.

    `after` counts the axes behind the axis of channels: 2 for images [N, C, H, W].
    """
    return x.sub(_constant(tuple(mean), after, x.dtype, x.device)).div(_constant(tuple(std), after, x.dtype, x.device))


def denormalize(y: Any, mean: list[float], std: list[float], after: int) -> Any:
    """Undo `normalize`: return y * std + mean."""
    return y.mul(_constant(tuple(std), after, y.dtype, y.device)).add(_constant(tuple(mean), after, y.dtype, y.device))


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], after: int, dtype: Any, device: Any) -> Any:
    """Make a constant [C, 1, …] once: copying it to a GPU takes longer than using it. It is never an inference tensor,
    which training cannot use.
    """
    import torch

    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).reshape(-1, *[1] * after)
