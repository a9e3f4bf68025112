"""Which parameters are trained first when a model is tuned."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm


def unfreeze_head(model: torch.nn.Module, optimizer: Any, norms: bool) -> None:
    """The optimizer's last group gets gradients; with `norms`, batch normalisation does wherever it is."""
    for param in optimizer.param_groups[-1]["params"]:
        param.requires_grad_(True)
    if norms:
        unfreeze_norms(model)


def unfreeze_norms(model: torch.nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            part.requires_grad_(True)
