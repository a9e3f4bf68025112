"""Operations as Python would write them, for errors and warnings."""

from __future__ import annotations

import contextlib
from typing import Any

from . import errors
from .ops import Arguments, Call, Del, Fetch, Get, Import, Op, Raise, Return, Set, SetItem

_LONGEST = 200


def positions(op: Op) -> int:
    if type(op) is Get:
        return len(op.names)
    if type(op) is Arguments:
        return max(1, op.count)
    return len(op.names) + 1 if type(op) is Call else 1


def describe(op: Op | None, value: Any, links: int) -> str:
    """Return the operation as Python would write it, as far as it got: `ResNet.fcc`, `Linear(...)`. `links` of its path
    are there.
    """
    return errors.text(_describe(op, value, links), _LONGEST)


def _describe(op: Op | None, value: Any, links: int) -> str:
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
