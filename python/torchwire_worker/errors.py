"""An exception as the client is told of it. Nothing of the exception itself, its frames or their variables is kept."""

from __future__ import annotations

import builtins
import difflib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from .facts import facts

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MOST_CAUSES = 8
# As many of a group's as Python prints; of everything that hangs together, so many.
_MOST_MEMBERS, _MOST_EXCEPTIONS = 15, 64


def describe(error: BaseException) -> dict[str, Any]:
    return _describe(error, 0, iter(range(_MOST_EXCEPTIONS)))


def _describe(error: BaseException, depth: int, permits: Iterator[int]) -> dict[str, Any]:
    """`permits` has one for each exception that may be told beside it."""

    def more(other: BaseException) -> dict[str, Any] | None:
        return _describe(other, depth + 1, permits) if depth < _MOST_CAUSES and next(permits, None) is not None else None

    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    kind = type(error)
    members = members_of(error)
    told = [found for found in map(more, members[:_MOST_MEMBERS]) if found]
    notes = [*_notes(error), *map(text, facts(error))]
    if len(told) < len(members):
        notes.append(f"({len(members) - len(told)} of its {len(members)} exceptions are not told)")
    return {
        "type": type_name(kind),
        "mro": [type_name(base) for base in kind.__mro__],
        "message": _message(error),
        "frames": [
            {
                "file": text(frame.filename),
                "line": frame.lineno or 0,
                "name": text(frame.name),
                "source": text((frame.line or "").strip()),
            }
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith(_OURS) and not frame.filename.startswith("<frozen")
        ],
        "notes": notes,
        "cause": more(cause) if cause is not None else None,
        **({"errors": told} if members else {}),
    }


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions in a group: Python's own, or that of the package `exceptiongroup` where Python has none."""
    holder = builtins if sys.version_info >= (3, 11) else sys.modules.get("exceptiongroup")
    group: Any = getattr(holder, "BaseExceptionGroup", ())
    if not isinstance(error, group):
        return ()
    try:
        # The group's own, whatever a class below it makes of the name.
        return tuple(group.exceptions.__get__(error))
    except Exception:
        return ()


def type_name(kind: type) -> str:
    return text(kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}")


def text(value: str) -> str:
    """As UTF-8 can carry it: half a surrogate pair, as file names that are not text have it, is written as its escape."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _message(error: BaseException) -> str:
    # KeyError's str is the repr of its key.
    try:
        message = str(error.args[0]) if isinstance(error, KeyError) and len(error.args) == 1 else str(error)
        return text(message + _suggestion(error))
    except Exception as broken:
        return f"<its message cannot be made: {type(broken).__name__}>"


def _suggestion(error: BaseException) -> str:
    """As Python itself prints it, which does not make it part of the message."""
    if not isinstance(error, AttributeError) or not isinstance(error.name, str):
        return ""
    close = difflib.get_close_matches(error.name, dir(error.obj), n=1, cutoff=0.7)
    return f". Did you mean: '{close[0]}'?" if close else ""


def _notes(error: BaseException) -> list[str]:
    try:
        return [text(str(note)) for note in getattr(error, "__notes__", [])]
    except Exception as broken:
        return [f"<its notes cannot be read: {type(broken).__name__}>"]


def forget(error: BaseException) -> None:
    """Frees what the failed frames held: tensors, first of all."""
    chain: list[BaseException | None] = [error]
    seen: set[int] = set()
    while chain:
        link = chain.pop()
        # A chain can lead back to itself.
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None
        chain += (link.__cause__, link.__context__, *members_of(link))
