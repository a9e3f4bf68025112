"""Runs batches in the order of their arrival, on the main thread: PyTorch's grad mode belongs to a thread. The batches
of a call run on the thread that called.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Callable
from typing import Any

from . import errors, forked, warned
from .calls import Call as Asked
from .calls import Functions
from .context import Contexts
from .facts import facts_of_attribute, facts_of_item
from .lanes import Lanes
from .objects import NoValue, Objects
from .ops import (
    Arguments,
    Batch,
    Call,
    Del,
    DelItem,
    Fetch,
    Get,
    GetItem,
    Import,
    Op,
    Raise,
    Release,
    Return,
    Set,
    SetItem,
)
from .tensors import Frames
from .values import Decoder, encode_plain, encode_settled, is_dict
from .wire import Limits, WireError

SETTLE, JS, NDARRAY = range(3)

# The reply to a batch: its number, [id, value, id, value, …], the failure (if an operation failed), and the warnings
# (if there are any).
Reply = tuple[int, list[Any], dict[str, Any] | None] | tuple[int, list[Any], dict[str, Any] | None, dict[str, Any]]

# Python notes here which warnings it has shown, if the caller is to blame for them: here, the caller is each operation.
_warned_of: dict[Any, Any] = globals().setdefault("__warningregistry__", {})


class Executor:
    def __init__(self, limits: Limits, objects: Objects | None = None) -> None:
        self.objects = Objects() if objects is None else objects
        self.functions = Functions()
        # The number of batches that were run.
        self.batches = 0
        self._limits = limits
        self._lanes = Lanes()
        self._contexts = Contexts(self.objects)
        self._warnings = warned.Collected()

    def run(
        self,
        seq: int,
        batch: Batch,
        operations: list[Op],
        frames: list[Any],
        out: Frames,
        call: Asked | None = None,
    ) -> Reply:
        """`call`: the call whose log the batch is of. Another batch waits meanwhile, in the middle of an operation."""
        self.batches += 1
        functions = self.functions.make(batch.functions) if batch.functions else ()
        decode = Decoder(self.objects, batch.first, frames, self._limits, functions)
        run = _Run(self.objects, decode, batch.first, operations, out, call)
        is_main = threading.get_ident() == threading.main_thread().ident
        warnings = self._warnings if call is None else warned.Collected()
        outer = warned.running.at, warned.running.collected
        if is_main:
            # Python must show a warning again for each line of the program.
            _warned_of.clear()
            warned.running.at, warned.running.collected = run.at, warnings
        if not self._lanes.is_closed(batch.lane, batch.generation):
            try:
                with self._contexts.entered(batch.contexts):
                    run.forward()
            except BaseException as error:
                if forked.is_child:
                    forked.leave(error)
                # The client must hear of anything that a library raises, SystemExit too.
                run.fail(error)
        if run.failure is not None:
            self._lanes.fail(batch.lane, batch.generation)
        if call is not None and not call.is_over and any(type(op) in (Return, Raise) for op in operations):
            call.fail()
        run.clean_up()
        self.objects.release(batch.finalised)
        self._contexts.end(batch.ended_contexts)
        if is_main:
            warned.running.at, warned.running.collected = outer
        reply = seq, run.values, run.failure
        if call is not None:
            told, left = warnings.take()
            return (*reply, {"told": told, "left": left}) if told else reply
        (told, left), (more, unsaid) = warnings.take(), warned.apart.take()
        return (*reply, {"told": told + more, "left": left + unsaid}) if told or more else reply

    def failed_late(self, reply: Reply, lane: tuple[int, int], error: BaseException) -> Reply:
        """Return the reply to a batch that was run, and of whose values a device says only now that it has none."""
        self._lanes.fail(*lane)
        seq, values, *_ = reply
        described = errors.describe(error, errors.Room(_LONGEST_LATE))
        errors.forget(error)
        return seq, [], {**described, "operation": "a value on the device", "id": values[0], "last": values[0]}


# In bytes. (There may be one in each reply of a message.)
_LONGEST_LATE = 16 * 2**10
_LONGEST_DESCRIPTION = 200


class _Run:
    """One batch that is being run: `done` operations are behind it, and `id` is the place of the next value."""

    __slots__ = ("_call", "_decode", "_first", "_objects", "_operations", "_out", "done", "failure", "id", "values")

    def __init__(
        self,
        objects: Objects,
        decode: Decoder,
        first: int,
        operations: list[Op],
        out: Frames,
        call: Asked | None,
    ) -> None:
        self._call = call
        self._objects = objects
        self._decode = decode
        self._first = first
        self._operations = operations
        self._out = out
        self.done = 0
        self.id = first
        self.values: list[Any] = []
        self.failure: dict[str, Any] | None = None

    def forward(self) -> None:
        objects, decode = self._objects, self._decode
        for op in self._operations:
            if type(op) is Call:
                target = self._follow(op.target, op.names)
                if op.kwargs:
                    kwargs = {name: decode(value) for name, value in op.kwargs.items()}
                    objects[self.id] = target(*map(decode, op.args), **kwargs)
                else:
                    objects[self.id] = target(*map(decode, op.args))
                self.id += 1
            elif type(op) is Get:
                self._follow(op.target, op.names)
            else:
                self._other(op)
                self.id += 1
            if forked.is_child:
                forked.leave()
            self.done += 1

    def _follow(self, target: int, names: list[str]) -> Any:
        value = self._objects[self._place(target)]
        for name in names:
            value = getattr(value, name)
            self._objects[self.id] = value
            self.id += 1
        return value

    def _place(self, name: int) -> int:
        """Return the place that an operation names: -1, -2, … count what this batch makes, from its first position."""
        return name if name >= 0 else self._first - 1 - name

    def _other(self, op: Op) -> None:
        objects, decode, place = self._objects, self._decode, self._place
        if type(op) is Fetch:
            self.values += (self.id, self._fetch(objects[place(op.target)], op.mode))
        elif type(op) is Release:
            self._release(op.ranges)
        elif type(op) is GetItem:
            objects[self.id] = objects[place(op.target)][decode(op.key)]
        elif type(op) is Set:
            setattr(objects[place(op.target)], op.name, decode(op.value))
        elif type(op) is SetItem:
            objects[place(op.target)][decode(op.key)] = decode(op.value)
        elif type(op) is Import:
            objects[self.id] = importlib.import_module(op.module)
        elif type(op) is Del:
            delattr(objects[place(op.target)], op.name)
        elif type(op) is DelItem:
            del objects[place(op.target)][decode(op.key)]
        else:
            self._of_call(op)

    def _of_call(self, op: Op) -> None:
        call = self._call
        if call is None:
            raise WireError("the call in Python that this serves is over")
        if type(op) is Arguments:
            if op.count != len(call.objects) or op.count == 0:
                raise WireError(f"{op.count} arguments of a call that has {len(call.objects)}")
            for value in call.objects:
                self._objects[self.id] = value
                self.id += 1
            self.id -= 1
        elif type(op) is Return:
            call.give(self._decode(op.value))
        elif type(op) is Raise:
            call.throw(op.number, op.message, op.stack)

    def _release(self, ranges: list[int]) -> None:
        self._objects.release([*map(self._place, ranges)])

    def _fetch(self, value: Any, mode: int) -> Any:
        out = self._out
        if mode == SETTLE:
            return encode_settled(value, out)
        before = len(out.buffers)
        try:
            if mode == JS:
                return encode_plain(value, out)
            if mode == NDARRAY:
                return [4, *out.add(value)]
        except BaseException:
            out.back_to(before)
            raise
        raise WireError(f"fetch mode {mode} is unknown")

    def at(self) -> tuple[int, Callable[[], str]]:
        """Return the id of the operation that is being run, and a function that describes it."""
        return self.id, lambda: self._described()[1]

    def _described(self) -> tuple[int, str]:
        """Return the last place of the current operation, and the operation as Python would write it."""
        operations = self._operations
        at = operations[self.done] if self.done < len(operations) else None
        first = self._first + sum(map(positions, operations[: self.done]))
        last = first + positions(at) - 1 if at is not None else self.id
        value = dict.get(self._objects, self._place(getattr(at, "target", 0)))
        return last, errors.text(_describe(at, value, self.id - first), _LONGEST_DESCRIPTION)

    def fail(self, error: BaseException) -> None:
        last, operation = self._described()
        described = errors.describe(error, errors.Room(min(errors.MOST, self._out.room)))
        at = self._operations[self.done] if self.done < len(self._operations) else None
        if (
            issubclass(type(error), TypeError)
            and isinstance(at, Call)
            and at.args
            and not at.kwargs
            and is_dict(at.args[-1])
        ):
            described["notes"].append("the last argument is a dict that the client wrote out")
        elif isinstance(at, (GetItem, DelItem)):
            described["notes"] += facts_of_item(error, dict.get(self._objects, self._place(at.target)), at.key)
        elif isinstance(at, (Set, Del)):
            described["notes"] += facts_of_attribute(error, dict.get(self._objects, self._place(at.target)), at.name)
        if self._call is not None and issubclass(type(error), NoValue):
            described["notes"].append("an operation behind the one that called this function has not run yet")
        self.failure = {**described, "operation": operation, "id": self.id, "last": last}
        errors.forget(error)
        if self._call is not None and self._call.failure is None:
            errors.mark(error, -self.id)
            self._call.failure = error

    def clean_up(self) -> None:
        """Run the operations that free references, whatever failed before."""
        for op in self._operations[self.done :]:
            if type(op) is Release:
                self._release(op.ranges)


def positions(op: Op) -> int:
    if type(op) is Get:
        return len(op.names)
    if type(op) is Arguments:
        return max(1, op.count)
    return len(op.names) + 1 if type(op) is Call else 1


def _describe(op: Op | None, value: Any, links: int) -> str:
    """Return the operation as Python would write it, as far as it got: `ResNet.fcc`, `Linear(...)`."""
    if op is None:
        return "leaving a context"
    if isinstance(op, Import):
        return f"import {op.module}"
    if isinstance(op, (Arguments, Return, Raise)):
        return "a function that Python calls"
    target = _name(value)
    if isinstance(op, Call):
        return (
            ".".join([target, *op.names]) + "(...)"
            if links >= len(op.names)
            else ".".join([target, *op.names[: links + 1]])
        )
    if isinstance(op, Get):
        return ".".join([target, *op.names[: links + 1]])
    if isinstance(op, Set):
        return f"{target}.{op.name} = ..."
    if isinstance(op, Del):
        return f"del {target}.{op.name}"
    if isinstance(op, SetItem):
        return f"{target}[...] = ..."
    return f"the value of {target}" if isinstance(op, Fetch) else f"{target}[...]"


def _name(target: Any) -> str:
    name: Any = None
    # (`__getattr__` may raise anything.)
    with contextlib.suppress(BaseException):
        name = getattr(target, "__name__", None)
    return errors.text(name) if issubclass(type(name), str) else errors.class_name(type(target))
