"""Averages of a model's weights, kept beside the weights that are trained."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .keeping import Values, parts_of, write
from .replacing import follow


class Average:
    """torch.optim.swa_utils.AveragedModel of a model: an exponential average with `decay`, or, if that is None, the
    mean over all updates.

    An epoch runs between `begin` and `end`. If the model got other weights than those of its updates (by a load, by
    hand between two epochs, or as other parameters), the average is of weights that are gone: it starts again with the
    next update.
    """

    def __init__(self, model: torch.nn.Module, decay: float | None, use_buffers: bool) -> None:
        self._model = model
        self._how = {"multi_avg_fn": None if decay is None else get_ema_multi_avg_fn(decay), "use_buffers": use_buffers}
        self._averaged: AveragedModel | None = None
        # The model's own values, while the model holds the averages.
        self._own: Values | None = None
        # Checksums of the weights: at the end of the last epoch, when the averages were put in, and before a load.
        self._left: list[int] | None = None
        self._shown: list[int] = []
        self._loading: list[int] = []
        self._was_shown = False
        self._make()
        follow(self)

    @property
    def module(self) -> torch.nn.Module:
        """The averaged model. It is the same object from update to update."""
        if self._averaged is None:
            raise RuntimeError("a lazy model has no average before its first training step")
        return self._averaged.module

    def begin(self, show: bool) -> bool:
        """Begin an epoch. With `show` the model holds the averages in it. Return whether it does: there may be none
        yet.
        """
        self._made()
        if self._left is not None and self._left != _checksums(self._model):
            self._forget()
        self._left = None
        if show and self._averaged is not None and self._averaged.n_averaged > 0:
            self._show()
        return self._own is not None

    def update(self) -> None:
        if self._averaged is None:
            self._make()
        if self._averaged is not None:
            self._averaged.update_parameters(self._model)

    def end(self) -> None:
        """End the epoch: the model gets its own weights back, or keeps others that it got meanwhile."""
        if self._own is not None and self._shown == _checksums(self._model):
            self._own.restore()
        elif self._own is not None:
            self._forget()
        self._own = None
        self._left = _checksums(self._model)

    def state(self) -> dict[str, Any] | None:
        """Return the state of the AveragedModel with which the next update goes on; None if that begins a new one."""
        averaged = self._averaged
        if averaged is None or averaged.n_averaged == 0:
            return None
        if self._left is not None and self._left != _checksums(self._model):
            return None
        return averaged.state_dict()

    # --- of checkpoints ---

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, between two epochs or in one of training: the model has its own weights then."""
        return {"averages": self._all(), "has_left": self._left is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the averages back, of the weights that the model has now."""
        self._made()
        with torch.no_grad():
            for own, value in zip(self._all(), state["averages"], strict=True):
                write(own.detach(), value)
        self._left = _checksums(self._model) if state["has_left"] else None

    def _all(self) -> list[torch.Tensor]:
        return [] if self._averaged is None else [*self._averaged.parameters(), *self._averaged.buffers()]

    # --- of whoever replaces weights (see `replacing`) ---

    def parts(self) -> list[torch.nn.Module]:
        return parts_of([self._model])

    def before(self) -> None:
        """Put the model's own weights back: a load goes to them, even a load into a part of them."""
        self._was_shown = self._own is not None
        if self._own is not None:
            self._own.restore()
            self._own = None
        self._loading = _checksums(self._model)

    def after(self) -> None:
        now = _checksums(self._model)
        if now == self._loading:
            if self._was_shown:
                self._show()
            return
        self._made()
        if self._averaged is not None:
            self._forget()
            self._averaged.update_parameters(self._model)
            self._forget()
        if self._left is not None:
            self._left = now

    def _show(self) -> None:
        self._own = Values(parts_of([self._model]))
        with torch.no_grad():
            for mine, average in self._pairs():
                write(mine.detach(), average.detach())
        self._shown = _checksums(self._model)

    def _forget(self) -> None:
        if self._averaged is not None:
            self._averaged.n_averaged.zero_()

    def _made(self) -> None:
        """Make the average anew if the model has other tensors now: another head, or those of a lazy module after its
        first run.
        """
        params = list(self._model.parameters())
        if (
            self._averaged is None
            or len(params) != len(self._params)
            or any(a is not b for a, b in zip(params, self._params))
        ):
            self._make()

    def _make(self) -> None:
        self._params = list(self._model.parameters())
        unmade = any(map(is_lazy, [*self._params, *self._model.buffers()]))
        self._averaged = None if unmade else AveragedModel(self._model, **self._how)

    def _pairs(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield each tensor of the model once, with its average, in the order in which AveragedModel pairs them."""
        average = self.module
        yield from zip(self._model.parameters(), average.parameters())
        yield from zip(self._model.buffers(), average.buffers())


def _checksums(model: torch.nn.Module) -> list[int]:
    return [0 if is_lazy(param) else _checksum(param.detach()) for param in model.parameters()]


def _checksum(tensor: torch.Tensor) -> int:
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized or tensor.numel() == 0:
        return 0
    return zlib.crc32(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


class Recomputing:
    """Computes the running statistics of batch normalisation anew, over the batches that `module` is called with until
    `end`, as torch.optim.swa_utils.update_bn does.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        parts = parts_of([module])
        self._modes = [(part, part.training) for part in parts]
        norms = [part for part in parts if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
        self._momenta = [(norm, norm.momentum) for norm in norms]
        self._before = Values(norms)
        for norm in norms:
            norm.reset_running_stats()
            # With None, PyTorch takes the mean over all batches.
            norm.momentum = None
        module.train()

    def end(self, whole: bool) -> None:
        """Restore the modes, and the old statistics unless `whole`: all batches were seen."""
        for norm, momentum in self._momenta:
            norm.momentum = momentum
        for part, mode in self._modes:
            part.training = mode
        if not whole:
            self._before.restore()
