"""Weights that are replaced otherwise than by an update: who follows them is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

import torch

from .keeping import parts_of


class Follower(Protocol):
    def parts(self) -> list[torch.nn.Module]:
        """Of the model that it follows."""
        ...

    def before(self) -> None: ...

    def after(self) -> None: ...


_followers: WeakSet[Follower] = WeakSet()


def follow(follower: Follower) -> None:
    """As long as it lives."""
    _followers.add(follower)


@contextmanager
def replacing(modules: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Around what puts other values into modules; where it fails or is taken back, they are as they were."""
    there = set(map(id, parts_of(modules)))
    concerned = [one for one in _followers if any(id(part) in there for part in one.parts())]
    for one in concerned:
        one.before()
    try:
        yield
    finally:
        for one in concerned:
            one.after()
