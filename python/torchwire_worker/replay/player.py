"""Runs the batches of a file, one after another, on the worker's own executor."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..calls import Call, encode_call
from ..executor import Executor
from ..objects import Objects
from ..ops import Op, read_batch
from ..tensors import Frames
from .container import File, Record, Restore


class Ended(BaseException):
    """The file ends in the middle of a call."""


class Player:
    """`goes_on` is called before each operation, with it and its number in its batch, from 1. If it says False, the
    batch ends there. (It is not asked about what functions of the program's do while Python waits for them.)
    """

    def __init__(self, file: File, goes_on: Callable[[Op, int], bool]) -> None:
        self._file = file
        self._goes_on = goes_on
        self.objects = _Kept(file.about.names.values())
        self._executor = Executor(file.limits, self.objects)
        self._executor.functions.ask = self._call
        # The batches of calls that were not run yet, by the numbers of the calls, which were made in this order.
        self._calls: dict[int, deque[Record]] = defaultdict(deque)
        for record in file.records:
            if record.header.parent_call:
                self._calls[record.header.parent_call].append(record)
        self._order = deque(sorted(self._calls))
        self._innermost: Call | None = None

    def restore(self, restore: Restore) -> None:
        parts = self._file.parts
        put_back(parts["model.safetensors"], parts["training.safetensors"], [*map(self._named, restore.objects)])

    def run(self, record: Record) -> list[tuple[int, dict[str, Any]]]:
        """Run a batch. Return what has failed, each with its place: in the batches of calls that it made, and in it."""
        self._failures: list[tuple[int, dict[str, Any]]] = []
        self._run(record, None)
        return self._failures

    def _named(self, ids: Any) -> Any:
        if isinstance(ids, dict):
            return {name: self._named(each) for name, each in ids.items()}
        return None if ids is None else self.objects[ids]

    def _run(self, record: Record, call: Call | None) -> None:
        limits = self._file.limits
        batch, operations = read_batch(record.meta, limits)
        frames = [bytearray(frame) for frame in record.frames]
        if call is None:
            operations = _Watched(operations, self._goes_on)
        failure = self._executor.run(record.header.seq, batch, operations, frames, Frames(limits), call)[2]
        if failure is not None:
            self._failures.append((record.place, failure))

    def _call(self, function: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer a call of a function of the program's by what that did."""
        if not self._order:
            raise Ended
        records = self._calls[self._order.popleft()]
        _, objects = encode_call(args, kwargs, Frames(self._file.limits))
        outer = self._innermost
        self._innermost = call = Call(objects, outer)
        try:
            while not call.is_over:
                if not records:
                    raise Ended
                self._run(records.popleft(), call)
        finally:
            self._innermost = outer
        return call.result()


def put_back(model_file: memoryview, rest_file: memoryview, objects: Iterable[Any]) -> None:
    """Put a checkpoint back into its objects."""
    from ..helpers.resuming import TREE, Restoring

    model, rest = _Tensors(model_file), _Tensors(rest_file)
    versions = model.metadata.get("torchwire.versions", "")
    restoring = Restoring(model.infos, versions, rest.infos, rest.metadata[TREE])
    model.give(restoring.model.write)
    rest.give(restoring.rest.write)
    restoring.commit(*objects)


class _Kept(Objects):
    """Objects of which some are never freed, so that they can be looked at."""

    def __init__(self, ids: Iterable[int]) -> None:
        super().__init__()
        self._ids = frozenset(ids)

    def release(self, ranges: list[int]) -> None:
        for i in range(0, len(ranges), 2):
            for id in range(ranges[i], ranges[i + 1] + 1):
                if id not in self._ids:
                    self.pop(id, None)


class _Watched(list[Op]):
    """The operations of a batch, of which each is asked about before it runs."""

    def __init__(self, operations: list[Op], goes_on: Callable[[Op, int], bool]) -> None:
        super().__init__(operations)
        self._goes_on = goes_on

    def __iter__(self) -> Iterator[Op]:
        for number, op in enumerate(super().__iter__(), 1):
            if not self._goes_on(op, number):
                return
            yield op


class _Tensors:
    """The tensors of a safetensors file in memory, in the order of their bytes."""

    def __init__(self, data: memoryview) -> None:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(bytes(data[8 : 8 + length]))
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        ordered = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        self.infos = [(name, one["dtype"], one["shape"]) for name, one in ordered]
        self._data = data[8 + length :]

    def give(self, take: Callable[[Any], int]) -> None:
        import torch

        if len(self._data):
            take(torch.frombuffer(bytearray(self._data), dtype=torch.uint8))
