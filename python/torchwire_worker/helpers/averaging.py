"""Averages of a model's weights, beside those that are trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged(model: torch.nn.Module, decay: float | None, use_buffers: bool) -> AveragedModel:
    """An exponential average with `decay`, or the mean of all that it is shown."""
    multi_avg_fn = None if decay is None else get_ema_multi_avg_fn(decay)
    return AveragedModel(model, multi_avg_fn=multi_avg_fn, use_buffers=use_buffers)


@torch.no_grad()
def show(model: torch.nn.Module, average: AveragedModel, averages: bool) -> None:
    """Exchanges their values in place, so that `model` has the averages, or its own again. What it has already it keeps: it is known here, where a call
    that was not run has changed nothing."""
    if vars(average).get("_torchwire_shown", False) is averages:
        return
    theirs = average.module.state_dict()
    for name, mine in model.state_dict().items():
        kept = mine.clone()
        mine.copy_(theirs[name])
        theirs[name].copy_(kept)
    vars(average)["_torchwire_shown"] = averages


def normalizations(module: torch.nn.Module) -> Iterator[Any]:
    return (one for one in module.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm))


class Recomputing:
    """The running statistics of batch normalisation anew, over the batches that `module` is called with until `end`."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._was_training = module.training
        self._momenta = {one: one.momentum for one in normalizations(module)}
        for one in self._momenta:
            one.reset_running_stats()
            # None is a mean over all batches.
            one.momentum = None
        module.train()

    @torch.no_grad()
    def see(self, *args: Any, **kwargs: Any) -> None:
        self._module(*args, **kwargs)

    def end(self) -> None:
        for one, momentum in self._momenta.items():
            one.momentum = momentum
        self._module.train(self._was_training)
