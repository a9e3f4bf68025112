"""An exception as the client is told of it. Nothing of the exception itself, its frames or their variables is kept."""

from __future__ import annotations

import difflib
import os
import traceback
from typing import Any

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MOST_CAUSES = 8


def describe(error: BaseException, depth: int = 0) -> dict[str, Any]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    kind = type(error)
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
        "notes": _notes(error),
        "cause": describe(cause, depth + 1) if cause is not None and depth < _MOST_CAUSES else None,
    }


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
        chain += (link.__cause__, link.__context__)
