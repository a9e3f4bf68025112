"""Functions that a client recorded (`worker.function`), as real Python functions with a source."""

from __future__ import annotations

import builtins
import itertools
import linecache
import types
import weakref
from typing import Any

from . import writing

# By the name that pickle knows them by. It finds a function again in this process, and in those that are forked of it.
_living: weakref.WeakValueDictionary[str, types.FunctionType] = weakref.WeakValueDictionary()


class _Code:
    """A compiled source. It is in `linecache`, for tracebacks and `inspect.getsource`, as long as a function has it."""

    def __init__(self, source: str, file: str) -> None:
        self.source = source
        self.code = compile(source, file, "exec", dont_inherit=True)
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        weakref.finalize(self, linecache.cache.pop, file, None)


# A function that is recorded again, in a loop, has the same code: torch.compile need not compile it again.
_codes: weakref.WeakValueDictionary[tuple[str, str], _Code] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


def make(
    name: str,
    parameters: list[Any],
    steps: list[writing.Step],
    result: writing.Expression,
    outer: list[Any],
    site: str,
) -> types.FunctionType:
    """Return the function. `outer` has the values of its closure variables; `site` is the client's line."""
    written = writing.write(name, parameters, steps, result, outer)
    code = _codes.get((site, written.source))
    if code is None:
        # (Python takes what lies in angle brackets for no file.)
        file = f"<function {next(_numbers)}{f' of {site}' if site.isprintable() and site else ''}>"
        code = _codes[site, written.source] = _Code(written.source, file)
    namespace: dict[str, Any] = {"__name__": __name__, "__builtins__": builtins}
    exec(code.code, namespace)
    function: types.FunctionType = namespace.pop(written.maker)(*written.outer)
    qualified = written.name
    for i in itertools.count(2):
        if qualified not in _living and qualified not in globals():
            break
        qualified = f"{written.name}_{i}"
    function.__qualname__ = qualified
    # It keeps the source.
    vars(function)["__torchwire__"] = code
    _living[qualified] = function
    return function


def source_of(function: Any) -> str | None:
    """Return the source of a recorded function, with the function that makes it; None for others."""
    code = vars(function).get("__torchwire__") if isinstance(function, types.FunctionType) else None
    return code.source if isinstance(code, _Code) else None


def __getattr__(name: str) -> Any:
    """Pickle asks here for a function by its name."""
    found = _living.get(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: no function of this name is kept here")
    return found
