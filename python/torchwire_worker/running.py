"""One batch that is being run."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

from . import errors, forked
from .calls import Call as Asked
from .described import describe, positions
from .facts import facts_of_attribute, facts_of_item
from .objects import NoValue, Objects
from .ops import (
    Arguments,
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
from .prepared import NOTHING, Plan
from .tensors import Frames
from .values import Decoder, encode_plain, encode_settled, is_dict
from .wire import Limits, WireError

SETTLE, JS, NDARRAY = range(3)


class Run:
    """One batch that is being run: `done` operations are behind it, and `id` is the place of the next value."""

    __slots__ = ("_call", "_functions", "_left", "_limits", "_made", "_objects", "_operations", "_out", "_starts",
                 "done", "failure", "first", "frames", "id", "values")  # fmt: skip

    def __init__(
        self,
        objects: Objects,
        first: int,
        operations: list[Op],
        frames: list[Any],
        out: Frames,
        call: Asked | None,
        limits: Limits,
        functions: Sequence[Any],
    ) -> None:
        self._call = call
        self._objects = objects
        self._operations = operations
        self._out = out
        self._limits = limits
        self._functions = functions
        # While a plan is followed: what was made, and the steps that are left.
        self._made: list[Any] | None = None
        self.first = first
        self.frames = frames
        self.done = 0
        self.id = first
        self.values: list[Any] = []
        self.failure: dict[str, Any] | None = None

    def forward(self, plan: Plan | None) -> None:
        if plan is None:
            self._interpret()
        else:
            self._follow_plan(plan)

    def _follow_plan(self, plan: Plan) -> None:
        steps, self._starts, left, _, _ = plan
        self._made = made = [NOTHING] * self._starts[-1]
        # Nothing is counted: the iterator knows how far it is.
        self._left = rest = iter(steps)
        objects = self._objects
        for step in rest:
            step(made, objects, self)
            if forked.is_child:
                forked.leave()
        self._made = None
        self.done, self.id = len(steps), self.first + len(made)
        for place in left:
            objects[self.first + place] = made[place]

    def _catch_up(self) -> None:
        """Note how far a plan was followed."""
        made = self._made
        if made is None:
            return
        self.done = len(self._starts) - 2 - operator.length_hint(self._left)
        start, end = self._starts[self.done : self.done + 2]
        at = start
        while at < end and made[at] is not NOTHING:
            at += 1
        self.id = self.first + at
        # (A signal handler may raise between two operations.)
        self.done += at == end > start

    def _leave_plan(self) -> None:
        """Put into the table what it would hold without a plan."""
        self._catch_up()
        made, self._made = self._made, None
        for place, value in enumerate(made or ()):
            if value is not NOTHING:
                self._objects[self.first + place] = value

    def decode(self, token: Any) -> Any:
        return self._decoder()(token)

    def _decoder(self) -> Decoder:
        return Decoder(self._objects, self.first, self.frames, self._limits, self._functions)

    def _interpret(self) -> None:
        objects, decode = self._objects, self._decoder()
        for op in self._operations:
            if type(op) is Call:
                objects[self.id] = self._called(op, decode)
                self.id += 1
            elif type(op) is Get:
                self._follow(op.target, op.names)
            else:
                self._other(op, decode)
                self.id += 1
            if forked.is_child:
                forked.leave()
            self.done += 1

    def _called(self, op: Call, decode: Decoder) -> Any:
        # (It must hold nothing of this longer than the call takes.)
        target = self._follow(op.target, op.names)
        if op.kwargs:
            kwargs = {name: decode(value) for name, value in op.kwargs.items()}
            return target(*map(decode, op.args), **kwargs)
        return target(*map(decode, op.args))

    def _follow(self, target: int, names: list[str]) -> Any:
        value = self._objects[self._place(target)]
        for name in names:
            value = getattr(value, name)
            self._objects[self.id] = value
            self.id += 1
        return value

    def _place(self, name: int) -> int:
        """Return the place that an operation names: -1, -2, … count what this batch makes, from its first position."""
        return name if name >= 0 else self.first - 1 - name

    def _other(self, op: Op, decode: Decoder) -> None:
        objects, place = self._objects, self._place
        if type(op) is Fetch:
            self.values += (self.id, self.fetch(objects[place(op.target)], op.mode))
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
            self._of_call(op, decode)

    def _of_call(self, op: Op, decode: Decoder) -> None:
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
            call.give(decode(op.value))
        elif type(op) is Raise:
            call.throw(op.number, op.message, op.stack)

    def _release(self, ranges: list[int]) -> None:
        self._objects.release([*map(self._place, ranges)])

    def fetch(self, value: Any, mode: int) -> Any:
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
        self._catch_up()
        return self.id, lambda: self._described()[1]

    def _described(self) -> tuple[int, str]:
        """Return the last place of the current operation, and the operation as Python would write it."""
        operations = self._operations
        at = operations[self.done] if self.done < len(operations) else None
        first = self.first + sum(map(positions, operations[: self.done]))
        last = first + positions(at) - 1 if at is not None else self.id
        return last, describe(at, self._value(getattr(at, "target", 0)), self.id - first)

    def _value(self, name: int) -> Any:
        """Return what an operation names, or None."""
        if self._made is None or name >= 0:
            return dict.get(self._objects, self._place(name))
        value = self._made[-1 - name]
        return None if value is NOTHING else value

    def fail(self, error: BaseException) -> None:
        self._leave_plan()
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
            described["notes"] += facts_of_item(error, self._value(at.target), at.key)
        elif isinstance(at, (Set, Del)):
            described["notes"] += facts_of_attribute(error, self._value(at.target), at.name)
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
