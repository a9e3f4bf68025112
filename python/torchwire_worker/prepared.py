"""Prepares the operations of a batch that comes again and again: its next runs need not interpret them.

A step is a function that runs one operation, or a part of it. Everything that its bytes decide was decided when it was
made; everything else, such as an attribute of an object, is looked up at each run. While a batch runs, what it makes is
in a list, by its places, and the table of objects gets what the batch leaves behind.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import arguments
from .arguments import Irregular, Read
from .ops import Call, Del, DelItem, Fetch, Get, GetItem, Import, Op, Release, Set, SetItem
from .wire import Limits

# A place that holds nothing: nothing was made there yet, or it was released.
NOTHING: Any = object()

# What the batch has made, the table of objects, the run.
Step = Callable[[list[Any], Any, Any], None]


class Plan(NamedTuple):
    """`starts` are the first places of the operations, and where the next would begin. `left` are the places of what is
    left behind. `highest` is the highest id that they name: they can run where the batch begins behind it.
    """

    steps: tuple[Step, ...]
    starts: tuple[int, ...]
    left: tuple[int, ...]
    highest: int
    limits: Limits


def prepare(operations: list[Op], limits: Limits) -> Plan | None:
    """Return None where an operation is not as a client writes it, or may fail before it has run: such ones are
    interpreted, and it is said of each run what is wrong.
    """
    try:
        return _prepared(operations, limits)
    except Irregular:
        return None


def _prepared(operations: list[Op], limits: Limits) -> Plan:
    names = arguments.Names(limits)
    steps: list[Step] = []
    starts = [0]
    for op in operations:
        steps.append(_step(op, starts[-1], names))
        starts.append(names.made)
    left = [place for place in range(names.made) if place in names.alive]
    return Plan(tuple(steps), tuple(starts), tuple(left), names.highest, limits)


def _step(op: Op, at: int, names: arguments.Names) -> Step:
    if isinstance(op, (Call, Get)):
        own, target = names.place(op.target)
        links = [(names.make(), name) for name in op.names]
        if isinstance(op, Call):
            step = _call(op, own, target, links, names)
            names.make()
            return step
        return _get(own, target, links)
    if isinstance(op, Release):
        step = _release(op.ranges, names)
    else:
        step = _other(op, at, names)
    names.skip()
    if isinstance(op, (GetItem, Import)):
        names.alive.add(at)
    return step


def _get(own: bool, target: int, links: list[tuple[int, str]]) -> Step:
    def get(made: list[Any], objects: Any, run: Any) -> None:
        value = made[target] if own else objects[target]
        for place, name in links:
            made[place] = value = getattr(value, name)

    return get


def _call(op: Call, own: bool, target: int, links: list[tuple[int, str]], names: arguments.Names) -> Step:
    keywords = names.named(op.kwargs) if op.kwargs else None
    constants, given = names.all_of(op.args)
    result = names.made
    if keywords is not None:
        return _call_by_name(own, target, links, result, given, keywords)
    if constants is None:
        return _call_with(own, target, links, result, given)
    if len(links) == 1:
        return _method(own, target, *links[0], result, constants)

    def call(made: list[Any], objects: Any, run: Any) -> None:
        value = made[target] if own else objects[target]
        for place, name in links:
            made[place] = value = getattr(value, name)
        made[result] = value(*constants)

    return call


def _method(own: bool, target: int, place: int, name: str, result: int, constants: tuple[Any, ...]) -> Step:
    def method(made: list[Any], objects: Any, run: Any) -> None:
        made[place] = value = getattr(made[target] if own else objects[target], name)
        made[result] = value(*constants)

    return method


def _call_with(own: bool, target: int, links: list[tuple[int, str]], result: int, given: Read) -> Step:
    def call_with(made: list[Any], objects: Any, run: Any) -> None:
        value = made[target] if own else objects[target]
        for place, name in links:
            made[place] = value = getattr(value, name)
        made[result] = value(*given(made, objects, run))

    return call_with


def _call_by_name(
    own: bool, target: int, links: list[tuple[int, str]], result: int, given: Read, keywords: Read
) -> Step:
    def call_by_name(made: list[Any], objects: Any, run: Any) -> None:
        value = made[target] if own else objects[target]
        for place, name in links:
            made[place] = value = getattr(value, name)
        # (In this order, as they are interpreted.)
        named = keywords(made, objects, run)
        made[result] = value(*given(made, objects, run), **named)

    return call_by_name


def _release(ranges: Sequence[int], names: arguments.Names) -> Step:
    own: list[int] = []
    others: list[int] = []
    for i in range(0, len(ranges), 2):
        first, last = ranges[i], ranges[i + 1]
        if first < 0 and last < 0:
            places = [place for place in range(-1 - first, -last) if place in names.alive]
            names.alive.difference_update(places)
            own += places
        elif first >= 0 and last >= 0:
            names.highest = max(names.highest, last)
            others += first, last
        else:
            raise Irregular
    if own and others:
        # (Objects are freed in the order in which they are named.)
        raise Irregular

    def release(made: list[Any], objects: Any, run: Any) -> None:
        for place in own:
            made[place] = NOTHING
        if others:
            objects.release(others)

    return release


def _other(op: Op, at: int, names: arguments.Names) -> Step:
    if isinstance(op, Import):
        return _import(op.module, at)
    if not isinstance(op, (Fetch, GetItem, Set, SetItem, Del, DelItem)):
        # It serves a call.
        raise Irregular
    own, target = names.place(op.target)
    if isinstance(op, Fetch):
        return _fetch(own, target, at, op.mode)
    if isinstance(op, Set):
        return _set(own, target, op.name, names.read(op.value))
    if isinstance(op, Del):
        return _del(own, target, op.name)
    key = names.read(op.key)
    if isinstance(op, GetItem):
        return _get_item(own, target, key, at)
    return _set_item(own, target, key, names.read(op.value)) if isinstance(op, SetItem) else _del_item(own, target, key)


def _import(module: str, at: int) -> Step:
    def import_(made: list[Any], objects: Any, run: Any) -> None:
        made[at] = importlib.import_module(module)

    return import_


def _fetch(own: bool, target: int, at: int, mode: int) -> Step:
    def fetch(made: list[Any], objects: Any, run: Any) -> None:
        run.values += (run.first + at, run.fetch(made[target] if own else objects[target], mode))

    return fetch


def _set(own: bool, target: int, name: str, value: Read) -> Step:
    def set_(made: list[Any], objects: Any, run: Any) -> None:
        setattr(made[target] if own else objects[target], name, value(made, objects, run))

    return set_


def _del(own: bool, target: int, name: str) -> Step:
    def del_(made: list[Any], objects: Any, run: Any) -> None:
        delattr(made[target] if own else objects[target], name)

    return del_


def _get_item(own: bool, target: int, key: Read, at: int) -> Step:
    def get_item(made: list[Any], objects: Any, run: Any) -> None:
        made[at] = (made[target] if own else objects[target])[key(made, objects, run)]

    return get_item


def _set_item(own: bool, target: int, key: Read, value: Read) -> Step:
    def set_item(made: list[Any], objects: Any, run: Any) -> None:
        (made[target] if own else objects[target])[key(made, objects, run)] = value(made, objects, run)

    return set_item


def _del_item(own: bool, target: int, key: Read) -> Step:
    def del_item(made: list[Any], objects: Any, run: Any) -> None:
        del (made[target] if own else objects[target])[key(made, objects, run)]

    return del_item
