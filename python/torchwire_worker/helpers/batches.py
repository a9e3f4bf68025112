"""Moves batches to the model's device, and numbers back."""

from __future__ import annotations

from typing import Any

import torch

from .. import devices
from ..staging import staging


def to_device(value: Any, device: str) -> Any:
    """Return `value.to(device)`. Where a tensor in this machine's memory goes to a GPU, nothing waits for the copy."""
    if (
        type(value) is torch.Tensor
        and value.device.type == "cpu"
        and value.layout is torch.strided
        and value.is_contiguous()
        and not value.requires_grad
    ):
        target = torch.device(device)
        if devices.layer.takes(target):
            sent = staging.send(value, target)
            if sent is not None:
                return sent
    return value.to(device)


def number(tensor: torch.Tensor) -> Any:
    """Return the number in a tensor of one element, for a reply: on a GPU as a tensor, for which nothing waits."""
    late = devices.late_number(tensor)
    return tensor.item() if late is None else late
