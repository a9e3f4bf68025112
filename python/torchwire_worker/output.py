"""What Python code writes to its standard output and errors: of a worker that serves elsewhere, its client is told."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from . import errors

# A progress bar goes back to the start of its line.
_END = re.compile(r"\r?\n|\r(?!\n)")
# Longer ones are told in parts.
_LONGEST = 64 * 2**10


class Output:
    """A standard stream. What is written goes where it went before, and to the client in lines."""

    def __init__(self, before: TextIO, tell: Callable[[str], None]) -> None:
        self._before = before
        self._tell = tell
        self._rest = ""
        # A program may write from where a write of its own was interrupted: a signal's handler, a finalizer.
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def write(self, text: str) -> int:
        written = self._before.write(text)
        # A forked child, a DataLoader's for one, has no link.
        if os.getpid() == self._pid:
            with self._lock:
                *lines, self._rest = _END.split(self._rest + text)
                if len(self._rest) > _LONGEST:
                    lines.append(self._rest)
                    self._rest = ""
                for line in lines:
                    for start in range(0, len(line) or 1, _LONGEST):
                        self._tell(errors.text(line[start : start + _LONGEST]))
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def finish(self) -> None:
        """Tells of a line that was not ended."""
        if self._rest:
            self.write("\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._before, name)


def tell_client(tell: Callable[[dict[str, Any]], None]) -> None:
    for stream in ("stdout", "stderr"):
        setattr(sys, stream, Output(getattr(sys, stream), lambda line, stream=stream: tell({"stream": stream, "line": line})))


def finish() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Output):
            stream.finish()
