"""Writes the batches of a file as one script of Python, which fails as the program did: to be read, changed and stepped
through.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..context import Contexts
from ..described import positions
from ..ops import Batch, Call, Del, DelItem, Fetch, Get, GetItem, Import, Op, Release, Set, SetItem, read_batch
from ..values import DICT, LIST, REFERENCE, SLICE, TUPLE
from ..wire import WireError
from .container import File, Record
from .expressions import Values, arguments, attribute, comment, keywords, place, variable, variables
from .player import put_back

SCRIPT = "steps.py"
_ARRAYS = "arrays"
_CHECKPOINT = ("model.safetensors", "training.safetensors")


def write_script(file: File, folder: str) -> str:
    """Write the script and its arrays into a folder, which must be new. Return the script's path."""
    path = Path(folder)
    path.mkdir(parents=True)
    try:
        return _written(file, path)
    except (IndexError, TypeError, ValueError, RecursionError) as error:
        shutil.rmtree(path)
        raise WireError(f"its operations are not ones: {error}") from error
    except BaseException:
        shutil.rmtree(path)
        raise


def _written(file: File, path: Path) -> str:
    if file.about.restore is not None:
        for name in _CHECKPOINT:
            (path / name).write_bytes(file.parts[name])
    (path / _ARRAYS).mkdir()
    script = path / SCRIPT
    with script.open("w", encoding="utf-8") as out:
        for line in _Script(file, path / _ARRAYS).lines():
            out.write(line + "\n")
    return str(script)


class Itself(dict[Any, Any]):
    """In a script an object has no id: it stands for itself."""

    def __missing__(self, one: Any) -> Any:
        return one


def contexts() -> Contexts:
    """Return the contexts of a script."""
    return Contexts(Itself())  # type: ignore[arg-type]


def array(folder: Path, number: int, dtype: Any, *shape: int) -> Any:
    """Return an array that the program sent."""
    import torch

    data = bytearray((folder / str(number)).read_bytes())
    return torch.frombuffer(data, dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)


def restore(folder: Path, *objects: Any) -> None:
    """Put the checkpoint back into its objects."""
    model, rest = (memoryview((folder / name).read_bytes()) for name in _CHECKPOINT)
    put_back(model, rest, objects)


class _Script:
    def __init__(self, file: File, arrays: Path) -> None:
        self._file = file
        self._arrays = arrays
        self._count = 0
        self._names = {id: name for name, id in file.about.names.items()}
        # (A batch of a call answers a function of the program's, which is not there.)
        self._batches = [
            (record, *read_batch(record.meta, file.limits)) for record in file.records if not record.header.parent_call
        ]
        self._used = {*self._names, *self._restored(file.about.restore)}
        for _, batch, operations in self._batches:
            self._used.update(_read(batch, operations))

    def lines(self) -> Iterator[str]:
        about = self._file.about
        last = self._batches[-1][0].place
        yield from _START.format(
            about=comment(f"{about.time}, torchwire {about.torchwire}, {about.place or 'outside of a step'}"),
            error=comment(f"{about.error.type or 'the worker was lost'}: {about.error.message}"),
            package=str(Path(__file__).parent.parent.parent),
            settings=arguments({name: getattr(about.settings, name) for name in about.settings.__struct_fields__}),
        ).split("\n")
        closed: set[tuple[int, int]] = set()
        for number, (record, batch, operations) in enumerate(self._batches, 1):
            yield ""
            yield f"# Batch {number}"
            if about.restore is not None and about.restore.before == record.place:
                yield f"restore(here, {', '.join(map(self._object, about.restore.objects))})"
            if (batch.lane, batch.generation) in closed:
                yield "# It was not run: one before it had failed."
                continue
            fails = record.place in about.failed and record.place != last
            yield from self._batch(record, batch, operations, fails)
            if fails:
                closed.add((batch.lane, batch.generation))

    def _batch(self, record: Record, batch: Batch, operations: list[Op], fails: bool) -> Iterator[str]:
        indent = ""
        if fails:
            yield "try:  # It failed, and the program went on."
            indent = "    "
        if batch.contexts:
            layers = ", ".join(
                f"Layer({layer.id}, {layer.mode!r}, [{variables(layer.eval)}], [{variables(layer.train)}], {layer.rng})"
                for layer in batch.contexts
            )
            yield f"{indent}with contexts.entered([{layers}]):"
            indent += "    "
        # (There may be nothing in it.)
        if indent:
            yield f"{indent}pass"
        for line in self._operations(record, batch, operations):
            yield indent + line
        if fails:
            yield "except Exception as error:"
            yield "    print(error)"
        freed = [
            i for op in operations if type(op) is Release for i in (place(name, batch.first) for name in op.ranges)
        ]
        yield from self._free([*freed, *batch.finalised])

    def _operations(self, record: Record, batch: Batch, operations: list[Op]) -> Iterator[str]:
        error, id = self._file.about.error, batch.first
        values = Values(record, batch, self._file.limits, self._kept)
        for op in operations:
            if error.id is not None and id <= error.id < id + positions(op):
                yield comment(f"Here it failed{f', at {error.site}' if error.site else ''}.")
            if isinstance(op, (Get, Call)):
                yield from self._chain(op, id, batch.first, values)
            else:
                yield from self._operation(op, id, batch.first, values)
            id += positions(op)

    def _chain(self, op: Get | Call, id: int, first: int, values: Values) -> Iterator[str]:
        target = variable(place(op.target, first))
        for name in op.names:
            target = attribute(target, name)
            if id in self._used:
                yield self._assigned(id, target)
                target = variable(id)
            id += 1
        if isinstance(op, Call):
            given = [*map(values, op.args), *keywords({name: values(value) for name, value in op.kwargs.items()})]
            yield self._assigned(id, f"{target}({', '.join(given)})")
        elif op.names and id - 1 not in self._used:
            yield target

    def _operation(self, op: Op, id: int, first: int, values: Values) -> Iterator[str]:
        if isinstance(op, Import):
            yield self._assigned(id, f"import_module({op.module!r})")
        if not isinstance(op, (GetItem, Set, SetItem, Del, DelItem, Fetch)):
            return
        target = variable(place(op.target, first))
        if isinstance(op, GetItem):
            yield self._assigned(id, f"{target}[{values(op.key)}]")
        elif isinstance(op, Set):
            yield f"setattr({target}, {op.name!r}, {values(op.value)})"
        elif isinstance(op, SetItem):
            yield f"{target}[{values(op.key)}] = {values(op.value)}"
        elif isinstance(op, Del):
            yield f"delattr({target}, {op.name!r})"
        elif isinstance(op, DelItem):
            yield f"del {target}[{values(op.key)}]"
        else:
            yield f"{target}  # The program asked for its value."

    def _assigned(self, id: int, expression: str) -> str:
        if id not in self._used:
            return expression
        name = f"  # {self._names[id]}" if id in self._names and self._names[id].isprintable() else ""
        return f"{variable(id)} = {expression}{name}"

    def _free(self, ranges: list[int]) -> Iterator[str]:
        """(What fails is looked at, and stays.)"""
        ids = [
            id
            for i in range(0, len(ranges), 2)
            for id in range(ranges[i], ranges[i + 1] + 1)
            if id in self._used and id not in self._names
        ]
        if ids:
            yield f"{' = '.join(map(variable, ids))} = None"

    def _object(self, ids: Any) -> str:
        if isinstance(ids, dict):
            return "{" + ", ".join(f"{name!r}: {self._object(each)}" for name, each in ids.items()) + "}"
        return "None" if ids is None else variable(ids)

    def _restored(self, restore: Any) -> Iterator[int]:
        def ids(one: Any) -> Iterator[int]:
            if isinstance(one, int):
                yield one
            elif isinstance(one, (list, dict)):
                for each in one.values() if isinstance(one, dict) else one:
                    yield from ids(each)

        return ids([] if restore is None else restore.objects)

    def _kept(self, tensor: Any) -> str:
        """Write an array. Return how the script reads it."""
        import torch

        self._count += 1
        raw = tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
        (self._arrays / str(self._count)).write_bytes(bytes(raw.numpy()))
        return f"array({', '.join(map(str, [self._count, tensor.dtype, *tensor.shape]))})"


def _read(batch: Batch, operations: list[Op]) -> Iterator[int]:
    """Return the ids of what a batch reads."""

    def visit(token: Any) -> Iterator[int]:
        if type(token) is list and token:
            if token[0] == REFERENCE:
                yield place(token[1], batch.first)
            elif token[0] in (LIST, TUPLE, DICT, SLICE):
                for item in token[1:]:
                    yield from visit(item)

    for op in operations:
        target = getattr(op, "target", None)
        if target is not None:
            yield place(target, batch.first)
        for name in ("key", "value"):
            yield from visit(getattr(op, name, None))
        if isinstance(op, Call):
            for each in (*op.args, *op.kwargs.values()):
                yield from visit(each)
    for layer in batch.contexts:
        yield from (*layer.eval, *layer.train)


_START = '''{about}
{error}
# Written by torchwire from a file of a failed step. It needs torchwire's worker, whose folder stands below.
import builtins
import operator
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

sys.path.insert(0, {package!r})
from torchwire_worker import helpers, settings
from torchwire_worker.ops import ContextLayer as Layer, Settings
from torchwire_worker.replay import script

settings.apply(Settings({settings}))
import torch

here = Path(__file__).parent
array = partial(script.array, here / "arrays")
restore = script.restore
contexts = script.contexts()


def program(name):
    """A function of the program's in TypeScript, which is not here: write what it returned."""

    def missing(*args, **kwargs):
        raise NotImplementedError(f"{{name}} is a function of the program's, in TypeScript")

    return missing
'''
