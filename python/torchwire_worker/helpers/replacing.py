"""Tells followers of weights when these are replaced otherwise than by an update."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

import torch

from .keeping import parts_of


class Follower(Protocol):
    def parts(self) -> list[torch.nn.Module]:
        """Return the parts of the model that it follows."""
        ...

    def before(self) -> None: ...

    def after(self) -> None: ...


_followers: WeakSet[Follower] = WeakSet()


def follow(follower: Follower) -> None:
    """Register a follower, as long as it lives."""
    _followers.add(follower)


@contextmanager
def replacing(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Surround code that puts other values into modules. If that fails, the modules are as they were."""
    there = set(map(id, parts_of(modules)))
    concerned = [one for one in _followers if any(id(part) in there for part in one.parts())]
    for one in concerned:
        one.before()
    try:
        yield
    finally:
        for one in concerned:
            one.after()
