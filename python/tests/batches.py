"""Batches as the client sends them, run by an executor."""

from __future__ import annotations

from typing import Any

import msgspec

from torchwire_worker.executor import Executor
from torchwire_worker.ops import Known, read_batch
from torchwire_worker.tensors import Frames
from torchwire_worker.wire import Limits

BUILTINS, OPERATOR, HELPERS = 1, 2, 3
LIMITS = Limits()


class Client:
    """Numbers the positions as the client does, and runs each batch at once. With `prepared`, each is prepared at its
    first run, and else never.
    """

    def __init__(self, prepared: bool = False) -> None:
        self.prepared = prepared
        self.executor = Executor(LIMITS)
        self.objects = self.executor.objects
        self.next = 16
        self.seq = 0
        self.frames = Frames()

    def run(self, *operations: list[Any], lane: int = 0, generation: int = 0, **fields: Any) -> Answer:
        first = self.next
        self.next += sum(map(positions, operations))
        self.seq += 1
        meta = {
            "lane": lane,
            "generation": generation,
            "first": first,
            "contexts": [],
            "operations": operations,
            "finalised": [],
            "ended_contexts": [],
        } | fields
        frames = meta.pop("frames", [])
        batch, operations = read_batch(msgspec.msgpack.encode(meta), LIMITS)
        operations = Known(operations) if self.prepared else [*operations]
        if isinstance(operations, Known):
            operations.runs = 1
        seq, values, failure = self.executor.run(self.seq, batch, operations, frames, self.frames)
        assert seq == self.seq
        return Answer(first, dict(zip(values[::2], values[1::2], strict=True)), failure)

    def keep(self, value: Any) -> int:
        """Give an object a place, as if an operation had made it."""
        id, self.next = self.next, self.next + 1
        self.objects[id] = value
        return id


class Answer:
    def __init__(self, first: int, values: dict[int, Any], failure: dict[str, Any] | None) -> None:
        self.first = first
        self.values = values
        self.failure = failure

    @property
    def value(self) -> Any:
        """Return the only one."""
        (value,) = self.values.values()
        return value

    @property
    def failed(self) -> dict[str, Any]:
        assert self.failure is not None
        return self.failure


def positions(operation: list[Any]) -> int:
    if operation[0] == 1:
        return len(operation[2])
    return len(operation[2]) + 1 if operation[0] == 2 else 1


def call(name: str, *args: Any, target: int = BUILTINS, **kwargs: Any) -> list[Any]:
    """Call a function by its dotted name. It takes a place for each link, then one for its result."""
    return [2, target, name.split(".") if name else [], list(args), kwargs]


def get(target: int, *names: str) -> list[Any]:
    return [1, target, list(names)]


def ref(id: int) -> list[int]:
    return [0, id]


def settle(target: int) -> list[Any]:
    return [8, target, 0]


def js(target: int) -> list[Any]:
    return [8, target, 1]


def release(*ranges: int) -> list[Any]:
    return [9, list(ranges)]


def context(id: int = 1, **fields: Any) -> dict[str, Any]:
    return {"id": id, "mode": None, "eval": [], "train": [], "rng": False} | fields
