"""Collects Python's warnings for the client, each with the operation that raised it, if one did."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from . import errors

# At most so many are reported for one batch, and for what is raised between two replies. The others are counted.
_MOST = 16
# Bytes of one warning. A forked child's must fit into a pipe's buffer, so that it is written whole or not at all.
_LONGEST, _LONGEST_OF_CHILD = 4096, 3000
_MOST_PRINTED = 1000

Told = dict[str, Any]


class Collected:
    """Warnings that wait to be taken: each text once, and no more than there is room for."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, str, str], Told] = {}
        self._left = 0
        self._lock = threading.Lock()

    def add(self, id: int, category: str, message: str, operation: Callable[[], str]) -> None:
        with self._lock:
            key = id, category, message
            if key in self._told:
                return
            if len(self._told) >= _MOST:
                self._left += 1
                return
            self._told[key] = {"id": id, "category": category, "message": message, "operation": operation()}

    def take(self) -> tuple[list[Told], int]:
        if not self._told:
            return [], 0
        with self._lock:
            taken = list(self._told.values()), self._left
            self._told, self._left = {}, 0
        return taken


# Warnings that belong to no operation: from an import at the start, another thread, or a child.
apart = Collected()


class _Running:
    """The operation that the main thread runs: its id, and a function that describes it."""

    collected: Collected | None = None
    at: Callable[[], tuple[int, Callable[[], str]]] = staticmethod(lambda: (0, str))


running = _Running()


def listen() -> None:
    """Listen for warnings. Call this once, before anything is imported that may warn.

    Python's filters decide what is raised, and `catch_warnings` takes what it records.
    """
    show, pid, printed = warnings.showwarning, os.getpid(), set[tuple[Any, ...]]()
    to_parent = _from_children()

    def note(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        kind, said = errors.type_name(category), _text(message)
        if os.getpid() != pid:
            to_parent(kind, said)
        elif running.collected is not None and threading.current_thread() is threading.main_thread():
            id, describe = running.at()
            running.collected.add(id, kind, said, describe)
        else:
            apart.add(0, kind, said, str)
        # Python raises a warning again in each batch if the operation's own call is to blame; print it once, as Python
        # does.
        key = kind, said, filename, lineno
        if key not in printed:
            if len(printed) < _MOST_PRINTED:
                printed.add(key)
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = note
    if not sys.warnoptions:
        # Python shows deprecations in __main__ and nowhere else. TypeScript's calls are the program's own, so they
        # count as __main__.
        warnings.filterwarnings("default", category=DeprecationWarning, module=r"torchwire_worker\.(running|prepared)$")


def _text(message: Warning | str) -> str:
    try:
        return errors.text(str(message), _LONGEST)
    except BaseException as broken:
        return f"<its message cannot be made: {errors.type_name(type(broken))}>"


def _from_children() -> Callable[[str, str], None]:
    """Return a function by which a forked child, such as a DataLoader's, reports: it has no link of its own."""
    if not hasattr(os, "fork"):
        return lambda kind, said: None
    read, write = os.pipe()
    os.set_blocking(write, False)

    def to_parent(kind: str, said: str) -> None:
        line = json.dumps([kind, errors.text(said, _LONGEST_OF_CHILD)], ensure_ascii=False).encode()
        # (If the pipe is full or the line is too long, the warning is only printed.)
        with contextlib.suppress(OSError):
            if len(line) < _LONGEST:
                os.write(write, line + b"\n")

    def listen() -> None:
        with open(read, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError):
                    kind, said = json.loads(line)
                    apart.add(0, str(kind), str(said), str)

    threading.Thread(target=listen, name="torchwire-warnings", daemon=True).start()
    return to_parent
