"""Which parameters are trained first when a model is fine-tuned."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy


def require_gradients(module: Any, required: bool) -> None:
    """Call `module.requires_grad_(required)`, on lazy modules too, whose parameters have no such method before their
    first run.
    """
    params = list(module.parameters()) if isinstance(module, torch.nn.Module) else []
    if not any(map(is_lazy, params)):
        module.requires_grad_(required)
        return
    for param in params:
        param.requires_grad = required


def unfreeze_head(model: torch.nn.Module, optimizer: torch.optim.Optimizer, norms: bool) -> None:
    """Give gradients to the optimizer's last group and, with `norms`, to batch normalisation wherever it is."""
    for param in optimizer.param_groups[-1]["params"]:
        param.requires_grad = True
    if norms:
        unfreeze_norms(model)


def unfreeze_norms(model: torch.nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            require_gradients(part, True)
