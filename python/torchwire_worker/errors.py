"""Describes an exception for the client, and keeps nothing of the exception itself, its frames or their variables."""

from __future__ import annotations

import builtins
import contextlib
import difflib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .facts import facts

T = TypeVar("T")

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MOST_CAUSES = 8
# Python prints so many members of a group; the second number bounds all exceptions that hang together.
_MOST_MEMBERS, _MOST_EXCEPTIONS = 15, 64
# Bounds for the frames at either end of a traceback, the notes of an exception, and its base classes.
_MOST_FRAMES, _MOST_NOTES, _MOST_BASES = 50, 32, 64
# Bytes of one message, and of one name or line.
_LONGEST, _LONGEST_NAME = 256 * 2**10, 1024
# Bytes of everything that is said about one failure.
MOST = 2**20


# Python's own descriptors. A class of the program may redefine these names, and reading an exception must not raise
# another one.
_cause, _context, _suppress_context, _traceback = (
    BaseException.__dict__[name] for name in ("__cause__", "__context__", "__suppress_context__", "__traceback__")
)
_mro = type.__dict__["__mro__"]
_NUMBER = "_torchwire_number"


class Room:
    """The bytes that are left for texts. A text that does not fit is cut, and says so."""

    def __init__(self, bytes: int) -> None:
        self.left = bytes

    def text(self, value: str, most: int = _LONGEST_NAME) -> str:
        cut = text(value, max(0, min(most, self.left)))
        # (16 bytes stand around each text.)
        self.left -= len(cut.encode()) + 16
        return cut


def describe(error: BaseException, room: Room | None = None) -> dict[str, Any]:
    return _describe(error, 0, iter(range(_MOST_EXCEPTIONS)), room or Room(MOST))


def _describe(error: BaseException, depth: int, permits: Iterator[int], room: Room) -> dict[str, Any]:
    """`permits` yields once for each further exception that may be described."""

    def more(other: BaseException) -> dict[str, Any] | None:
        told = depth < _MOST_CAUSES and room.left > 0 and next(permits, None) is not None
        return _describe(other, depth + 1, permits, room) if told else None

    kind = type(error)
    cause = _cause.__get__(error)
    if cause is None and not _suppress_context.__get__(error):
        cause = _context.__get__(error)
    members = members_of(error)
    own = {
        "type": room.text(type_name(kind)),
        "mro": [room.text(type_name(base)) for base in _mro.__get__(kind)[:_MOST_BASES]],
        "message": room.text(_message(error), _LONGEST),
        "frames": _asked(lambda: _frames(error, room), []),
    }
    notes = [*_notes(error, room), *map(room.text, facts(error))]
    told = [found for found in map(more, members[:_MOST_MEMBERS]) if found]
    if len(told) < len(members):
        notes.append(f"({len(members) - len(told)} of its {len(members)} exceptions are not told)")
    return {
        **own,
        "notes": notes,
        "cause": more(cause) if cause is not None else None,
        **({"errors": told} if members else {}),
        **({"thrown": number} if (number := number_of(error)) is not None else {}),
    }


def mark(error: BaseException, number: int) -> None:
    """Note the number by which the client knows the error itself. The first one holds."""
    if number_of(error) is None:
        with contextlib.suppress(BaseException):
            object.__setattr__(error, _NUMBER, number)


def number_of(error: BaseException) -> int | None:
    # (A class of the program may redefine how attributes are read.)
    with contextlib.suppress(BaseException):
        number = object.__getattribute__(error, "__dict__").get(_NUMBER)
        return number if type(number) is int else None
    return None


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """Return the exceptions in a group: Python's own, or one of the package `exceptiongroup` where Python has none."""
    holder = builtins if sys.version_info >= (3, 11) else sys.modules.get("exceptiongroup")
    group: Any = getattr(holder, "BaseExceptionGroup", ())
    # (`isinstance` would call the error's own `__class__`.)
    if not issubclass(type(error), group):
        return ()
    try:
        # Read the group's own descriptor: a subclass may redefine the name.
        return tuple(group.exceptions.__get__(error))
    except BaseException:
        return ()


def type_name(kind: type) -> str:
    name = text(_part(kind, "__qualname__"), _LONGEST_NAME)
    module = _part(kind, "__module__")
    return name if module == "builtins" else f"{text(module, _LONGEST_NAME)}.{name}"


def class_name(kind: type) -> str:
    return text(_part(kind, "__name__"), _LONGEST_NAME)


def _part(kind: type, name: str) -> str:
    """Read Python's own descriptor: a metaclass may redefine the name."""
    part: Any = None
    with contextlib.suppress(BaseException):
        part = type.__dict__[name].__get__(kind)
    return str.__str__(part) if issubclass(type(part), str) else "?"


def text(value: str, most: int = _LONGEST) -> str:
    """Return text that UTF-8 can carry, of at most `most` bytes.

    Half of a surrogate pair, which file names may contain, becomes its escape.
    """
    # (A subclass of str may have methods of its own.)
    value = str.__str__(value)
    kept = value[:most]
    if not kept.isascii():
        bytes = kept.encode("utf-8", "backslashreplace")
        kept = bytes[:most].decode("utf-8", "ignore")
        if len(bytes) > most:
            return f"{kept}… ({len(value) - len(kept):,} more characters)"
    return kept if len(value) <= most else f"{kept}… ({len(value) - most:,} more characters)"


def _frames(error: BaseException, room: Room) -> list[dict[str, Any]]:
    frames = [
        frame
        for frame in traceback.extract_tb(_traceback.__get__(error))
        if not frame.filename.startswith(_OURS) and not frame.filename.startswith("<frozen")
    ] + _asked(lambda: _uncompiled(error), [])
    told: list[dict[str, Any]] = []
    left = len(frames) - 2 * _MOST_FRAMES
    for i, frame in enumerate(frames):
        if i == _MOST_FRAMES and left > 0:
            told.append({"file": "…", "line": 0, "name": f"{left} more frames", "source": ""})
        if (left <= 0 or i < _MOST_FRAMES or i >= _MOST_FRAMES + left) and room.left > 0:
            file, name, source = room.text(frame.filename), room.text(frame.name), room.text((frame.line or "").strip())
            told.append({"file": file, "line": frame.lineno or 0, "name": name, "source": source})
    return told


def _uncompiled(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the line of a file that cannot be compiled: no frame has it, and Python prints it after all frames."""
    if not issubclass(type(error), SyntaxError):
        return []
    file, line, text = error.filename, error.lineno, error.text  # type: ignore[attr-defined]
    if type(file) is not str or type(line) is not int or file.startswith("<"):
        return []
    shown = text if type(text) is str else ""
    return [traceback.FrameSummary(file, line, "<module>", lookup_line=False, line=shown)]


def _asked(ask: Callable[[], T], otherwise: T) -> T:
    """Call `ask`, or return `otherwise` if it raises: the program's own loader may read the sources, and fail."""
    try:
        return ask()
    except BaseException:
        return otherwise


def _message(error: BaseException) -> str:
    # str(KeyError) is the repr of its key.
    try:
        message = str(error.args[0]) if isinstance(error, KeyError) and len(error.args) == 1 else str(error)
    except BaseException as broken:
        return f"<its message cannot be made: {class_name(type(broken))}>"
    return str.__str__(message) + _asked(lambda: _suggestion(error), "")


def _suggestion(error: BaseException) -> str:
    """Return the suggestion that Python prints after the message of an AttributeError, for short names."""
    if not isinstance(error, AttributeError) or not isinstance(error.name, str) or len(error.name) > 40:
        return ""
    close = difflib.get_close_matches(error.name, dir(error.obj), n=1, cutoff=0.7)
    return f". Did you mean: '{close[0]}'?" if close else ""


def _notes(error: BaseException, room: Room) -> list[str]:
    try:
        notes = [*getattr(error, "__notes__", [])]
        told = [room.text(str(note), _LONGEST // 8) for note in notes[:_MOST_NOTES]]
        return told if len(notes) <= _MOST_NOTES else [*told, f"({len(notes) - _MOST_NOTES} more notes)"]
    except BaseException as broken:
        return [f"<its notes cannot be read: {class_name(type(broken))}>"]


def forget(error: BaseException) -> None:
    """Free everything that the failed frames hold: tensors, first of all."""
    chain: list[BaseException | None] = [error]
    seen: set[int] = set()
    while chain:
        link = chain.pop()
        # A chain may contain a cycle.
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        # (Closing a generator may run code that raises.)
        _asked(lambda link=link: traceback.clear_frames(_traceback.__get__(link)), None)
        _traceback.__set__(link, None)
        chain += (_cause.__get__(link), _context.__get__(link), *members_of(link))
