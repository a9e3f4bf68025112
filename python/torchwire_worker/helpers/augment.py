"""Random changes of the samples of a batch, by torchvision's transforms, drawn from PyTorch's own generator."""

from __future__ import annotations

from typing import Any

import torch


def each(transform: Any, xs: torch.Tensor) -> torch.Tensor:
    """Transform `xs` [N, C, H, W] sample by sample: a transform draws once for each call."""
    return torch.stack([transform(x) for x in xs])


def each_with_masks(transform: Any, xs: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform `xs` [N, C, H, W] and `masks` [N, H, W]: each mask moves with its image."""
    from torchvision import tv_tensors

    pairs = [transform(tv_tensors.Image(x), tv_tensors.Mask(mask)) for x, mask in zip(xs, masks)]
    return torch.stack([torch.as_tensor(x) for x, _ in pairs]), torch.stack(
        [torch.as_tensor(mask) for _, mask in pairs]
    )
