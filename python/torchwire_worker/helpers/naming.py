"""Names in the source of a recorded function: each is an identifier, and none is one of Python's own."""

from __future__ import annotations

import builtins
import contextlib
import itertools
import keyword
import types
import unicodedata
from typing import Any

from .. import errors

_PYTHONS = frozenset((*dir(builtins), *keyword.kwlist, *keyword.softkwlist))


class Names:
    """Gives each name once, and none of Python's own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, *wanted: str) -> str:
        """Return a name like the first of `wanted` that is an identifier."""
        base = next(filter(is_name, wanted), "value")
        # A name of Python's must still mean what it means there.
        base = f"{base}_" if base in _PYTHONS else base
        found = base
        for i in itertools.count(2):
            if found not in self._taken:
                break
            found = f"{base}_{i}"
        self._taken.add(found)
        return found


def is_name(name: Any) -> bool:
    """Return whether `name`, written in a source, is this name: Python reads some letters as others."""
    return (
        isinstance(name, str)
        and len(name) <= 64
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and unicodedata.normalize("NFKC", name) == name
    )


def hints(value: Any) -> list[str]:
    """Return names for a value from outside: those that a program would give it."""
    found: Any = None
    # (`isinstance` would ask the value for its `__class__`.)
    if issubclass(type(value), (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)):
        with contextlib.suppress(BaseException):
            found = value.__name__.rpartition(".")[2]
    kind = errors.class_name(type(value))
    return [hint for hint in (found, kind[:1].lower() + kind[1:]) if isinstance(hint, str)]


def told(name: str, value: Any) -> str:
    if issubclass(type(value), types.ModuleType):
        with contextlib.suppress(BaseException):
            if all(map(is_name, value.__name__.split("."))):
                return name if value.__name__ == name else f"{name} ({value.__name__})"
    kind = errors.class_name(type(value))
    return f"{name} (a {kind})" if is_name(kind) else name
