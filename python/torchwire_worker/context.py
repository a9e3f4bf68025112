"""The ambient state around a batch: gradients, train and eval mode, random numbers. It is entered before the batch, and
left after it, even after an error.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

from .objects import Objects
from .ops import ContextLayer


class Contexts:
    """The contexts of a session. One that forked the random numbers continues them from batch to batch."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._forks: dict[int, Any] = {}

    @contextlib.contextmanager
    def entered(self, layers: list[ContextLayer]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for layer in layers:
                # The parameters that a lazy module gets in its first run remain: they must be ordinary tensors, made of
                # the random numbers that they would have got outside.
                makes = any(_is_unmade(self._objects[id]) for id in (*layer.train, *layer.eval))
                if layer.rng and not makes:
                    stack.enter_context(self._forked(layer.id))
                if layer.mode is not None:
                    stack.enter_context(_grad_mode("no_grad" if makes and layer.mode == "inference" else layer.mode))
                for ids, mode in ((layer.train, True), (layer.eval, False)):
                    for id in ids:
                        stack.enter_context(_module_mode(self._objects[id], mode))
            yield

    def end(self, ids: list[int]) -> None:
        for id in ids:
            self._forks.pop(id, None)

    @contextlib.contextmanager
    def _forked(self, id: int) -> Iterator[None]:
        outside = rng_state()
        if id in self._forks:
            set_rng_state(self._forks[id])
        try:
            yield
        finally:
            self._forks[id] = rng_state()
            set_rng_state(outside)


def _grad_mode(mode: str) -> Any:
    import torch

    modes = {"inference": torch.inference_mode, "no_grad": torch.no_grad, "grad": torch.enable_grad}
    return modes[mode]()


def _is_unmade(module: Any) -> bool:
    lazy = (getattr(part, "has_uninitialized_params", None) for part in module.modules())
    return any(unmade() for unmade in lazy if unmade is not None)


@contextlib.contextmanager
def _module_mode(module: Any, training: bool) -> Iterator[None]:
    """Set the mode, and give each submodule its own mode back: `module.train()` afterwards would also wake the frozen
    ones.
    """
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


def rng_state() -> tuple[Any, ...]:
    """Return the states of torch's generators (the CPU's and CUDA's), of Python's and of NumPy's, if it is loaded."""
    import torch

    numpy = sys.modules.get("numpy")
    return (
        torch.get_rng_state(),
        torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
        random.getstate(),
        numpy.random.get_state() if numpy is not None else None,
    )


def set_rng_state(state: tuple[Any, ...]) -> None:
    import torch

    cpu, cuda, python, numpy_state = state
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
    random.setstate(python)
    if numpy_state is not None:
        sys.modules["numpy"].random.set_state(numpy_state)
