"""Python's warnings, for the client to show: each with the operation that ran when it was raised, where one did."""

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

# Of one batch, and of what is raised outside of operations between two replies: so many are told, the others counted.
_MOST = 16
# Bytes of one. What a forked child says has to fit into a pipe's buffer, so that it is written as a whole or not at all.
_LONGEST, _LONGEST_OF_CHILD = 4096, 3000
_MOST_PRINTED = 1000

Told = dict[str, Any]


class Collected:
    """Warnings until somebody takes them: each text once, and no more than there is room for."""

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


# Those of no operation: raised by an import at the start, by another thread, by a child.
apart = Collected()


class _Running:
    """The operation that the main thread is at: its id, and how it is described."""

    collected: Collected | None = None
    at: Callable[[], tuple[int, Callable[[], str]]]


running = _Running()


def listen() -> None:
    """To be called once, before anything is imported that may warn. Python's filters decide what is raised, and `catch_warnings` takes what it records."""
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
        # One that an operation's own call is blamed for is raised again in each batch; it is printed as Python prints it, once.
        key = kind, said, filename, lineno
        if key not in printed:
            if len(printed) < _MOST_PRINTED:
                printed.add(key)
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = note
    if not sys.warnoptions:
        # What TypeScript calls is called by the program itself: Python shows deprecations there, in __main__, and nowhere else.
        warnings.filterwarnings("default", category=DeprecationWarning, module=r"torchwire_worker\.executor$")


def _text(message: Warning | str) -> str:
    try:
        return errors.text(str(message), _LONGEST)
    except BaseException as broken:
        return f"<its message cannot be made: {errors.type_name(type(broken))}>"


def _from_children() -> Callable[[str, str], None]:
    """For a child that Python forks, a DataLoader's for one: it has no link of its own."""
    if not hasattr(os, "fork"):
        return lambda kind, said: None
    read, write = os.pipe()
    os.set_blocking(write, False)

    def to_parent(kind: str, said: str) -> None:
        line = json.dumps([kind, errors.text(said, _LONGEST_OF_CHILD)], ensure_ascii=False).encode()
        # (Where it is full, or too long after all, it is printed and no more.)
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
