"""Random changes of the samples of a batch, by torchvision's transforms, drawn from PyTorch's own generator."""

from __future__ import annotations

from typing import Any

import torch

Images = torch.Tensor | list[torch.Tensor]


def each(transform: Any, xs: Images) -> Images:
    """Transform `xs` [N, C, H, W] sample by sample: a transform draws once for each call. A list stays a list."""
    return _like(xs, [transform(x) for x in xs])


def each_with_masks(transform: Any, xs: Images, masks: Images) -> tuple[Images, Images]:
    """Transform `xs` [N, C, H, W] and `masks` [N, H, W] or [N, 1, H, W]: each mask moves with its image."""
    from torchvision import tv_tensors

    pairs = [transform(tv_tensors.Image(x), tv_tensors.Mask(mask)) for x, mask in zip(xs, masks)]
    return _like(xs, [torch.as_tensor(x) for x, _ in pairs]), _like(masks, [torch.as_tensor(mask) for _, mask in pairs])


def _like(whole: Images, samples: list[torch.Tensor]) -> Images:
    return samples if isinstance(whole, list) else torch.stack(samples)
